"""Claims about networks for people's pictures: every pixel counts, statistics are right early, input is normalized."""

import pytest
import torch
from torch import nn

from capsnet.networks.batch_norm import BatchNorm2d
from capsnet.networks.capsnet import CapsNet, suitable_size
from capsnet.networks.decoder import ConvolutionalDecoder
from capsnet.networks.normalization import offer_normalization, set_normalization
from capsnet.networks.pooled_capsnet import PooledCapsNet
from capsnet.settings.parse import config_from_dict


@pytest.mark.parametrize("build", [PooledCapsNet, lambda *shape: CapsNet(*shape, 8, None, 2)])
@pytest.mark.parametrize("side", [224, 301])
def test_every_pixel_counts(build, side):
    torch.manual_seed(0)
    network = build((1, side, side), 3).eval()
    images = torch.full((1, 1, side, side), 0.5, requires_grad=True)
    capsules = network.encode(images)
    torch.autograd.grad(capsules.square().sum(), images)[0]
    gradient = torch.autograd.grad(network.encode(images).sum(), images)[0]
    unseen = (gradient == 0)[0, 0]
    assert not unseen.all(0).any()
    assert not unseen.all(1).any()
    assert unseen.float().mean() < 0.02  # by chance, through ReLU and pooling


def test_a_stride_that_passes_over_pixels_is_refused():
    with pytest.raises(ValueError, match="conv_stride=10: passes over pixels"):
        CapsNet((1, 224, 224), 3, conv_stride=10)


def test_smaller_images_are_not_shrunk():
    assert suitable_size(188, 300) == (188, 300)
    assert min(suitable_size(189, 300)) < 188


def test_an_image_is_recognized_wherever_the_thing_is():
    torch.manual_seed(0)
    network = PooledCapsNet((3, 64, 64), 3).eval()
    images = torch.zeros(2, 3, 64, 64)
    thing = torch.rand(3, 16, 16)
    images[0, :, 24:40, 24:40], images[1, :, 32:48, 16:32] = thing, thing
    here, there = network.primary(network.stem(images))
    torch.testing.assert_close(here, there)


def test_statistics_of_batch_normalization_are_those_of_the_data_after_few_steps():
    torch.manual_seed(0)
    own, torchs = BatchNorm2d(2, momentum=0.01), nn.BatchNorm2d(2, momentum=0.01)
    for step in range(1, 3001):
        batch = torch.randn(8, 2, 2, 2) * 3 + 5
        expected = torchs(batch)
        torch.testing.assert_close(own(batch), expected)
        if step == 20:
            assert (own.running_mean - 5).abs().max() < 0.6 < (torchs.running_mean - 5).abs().min()
            assert (own.running_var - 9).abs().max() < 3 < (torchs.running_var - 9).abs().min()
    torch.testing.assert_close(own.running_mean, torchs.running_mean)
    torch.testing.assert_close(own.running_var, torchs.running_var)
    batch = torch.randn(8, 2, 2, 2)
    torch.testing.assert_close(own.eval()(batch), torchs.eval()(batch))


def test_normalization_acts_on_what_the_first_convolution_sees():
    torch.manual_seed(0)
    network, plain = PooledCapsNet((3, 20, 20), 3), PooledCapsNet((3, 20, 20), 3)
    plain.load_state_dict(network.state_dict())
    offer_normalization(network, 3)
    images = torch.rand(4, 3, 20, 20)
    assert torch.equal(network(images).scores, plain(images).scores)
    center, spread = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.1, 0.2, 0.3])
    set_normalization(network, center, spread)
    seen = (images - center[:, None, None]) / spread[:, None, None]
    torch.testing.assert_close(network(images).scores, plain(seen).scores)
    assert torch.equal(network.state_dict()["stem.0.input_center"].flatten(), center)


def test_large_images_get_the_convolutional_decoder_by_themselves():
    config = config_from_dict({"model": {"name": "small_capsnet"}})
    assert isinstance(config.model.build((3, 224, 224), 10, config.routing).decoder, ConvolutionalDecoder)
    assert not isinstance(config.model.build((3, 64, 64), 10, config.routing).decoder, ConvolutionalDecoder)
