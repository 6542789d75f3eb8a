"""Claims about networks for people's pictures: every pixel counts, statistics are right early, input is normalized."""

import math

import pytest
import torch
from torch import nn

from capsnet.networks.batch_norm import BatchNorm2d
from capsnet.networks.capsnet import CapsNet, suitable_size
from capsnet.networks.decoder import ConvolutionalDecoder
from capsnet.networks.normalization import offer_normalization, set_normalization
from capsnet.networks.pooled_capsnet import PooledCapsNet, PooledCapsules
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


def test_a_primary_capsule_is_that_of_the_places_where_it_is_long():
    features = torch.rand(2, 6, 4, 5, generator=torch.manual_seed(0)) * 3
    capsules = PooledCapsules(3)(features)
    for image in range(2):
        for number in range(2):
            there = [features[image, 3 * number : 3 * number + 3, y, x] for y in range(4) for x in range(5)]
            weights = [math.exp(float(capsule.norm())) for capsule in there]
            mean = sum(weight * capsule for weight, capsule in zip(weights, there, strict=True)) / sum(weights)
            expected = mean / mean.norm() * (1 - math.exp(-float(mean.norm())))
            torch.testing.assert_close(capsules[image, number], expected)
    thing = torch.tensor([6.0, 0, 8.0])
    small, large = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    small[0, :, 2, 3], large[0, :, 2:10, 3:11] = thing, thing[:, None, None]
    torch.testing.assert_close(PooledCapsules(3)(small), PooledCapsules(3)(large), atol=0.01, rtol=0)


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


def test_a_network_in_float64_is_so_throughout():
    assert PooledCapsules(4)(torch.rand(1, 8, 3, 3, dtype=torch.float64)).dtype == torch.float64
