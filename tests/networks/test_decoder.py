"""Claims about the decoders: whose capsule they draw, and what."""

import pytest
import torch

from capsnet import CapsNet
from capsnet.networks.decoder import DECODERS, ConvolutionalDecoder, Decoder
from capsnet.settings.model import DECODERS as NAMES
from capsnet.settings.parse import config_from_dict

SMALL = {"conv_channels": 8, "primary_capsules": 2, "primary_dim": 4, "class_dim": 6}


def test_the_settings_name_the_decoders_there_are():
    assert tuple(DECODERS) == NAMES


@pytest.mark.parametrize("decoder", DECODERS)
def test_only_the_labelled_capsule_is_drawn(decoder):
    network = CapsNet(**SMALL, decoder=decoder).eval()
    images, labels = torch.rand(3, 1, 28, 28), torch.tensor([4, 0, 9])
    output = network(images, labels)
    others = torch.ones_like(output.scores, dtype=torch.bool).scatter_(1, labels[:, None], False)
    changed = torch.where(others.unsqueeze(-1), torch.randn_like(output.capsules), output.capsules)
    torch.testing.assert_close(network.decode(changed, labels), output.reconstruction)
    assert not torch.allclose(network.decode(output.capsules, (labels + 1) % 10), output.reconstruction)


@pytest.mark.parametrize("decoder", DECODERS.values())
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 28, 28), (2, 11, 40), (1, 65, 64)])
def test_images_have_the_given_shape_and_values_between_zero_and_one(decoder, shape):
    built = decoder(num_classes=3, class_dim=4, image_shape=shape, dropout=0.5)
    drawn = built(torch.randn(2, 3, 4) * 50, torch.tensor([0, 2]))
    assert drawn.shape == (2, *shape)
    assert ((drawn >= 0) & (drawn <= 1)).all()


@pytest.mark.parametrize(
    ("classes", "shape"), [(10, (1, 28, 28)), (49, (1, 28, 28)), (10, (3, 32, 32)), (5, (3, 96, 96))]
)
def test_the_convolutional_decoder_has_fewer_parameters_than_the_dense_one(classes, shape):
    dense, convolutional = (
        sum(parameter.numel() for parameter in decoder(classes, 16, shape).parameters())
        for decoder in (Decoder, ConvolutionalDecoder)
    )
    assert convolutional < dense


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_learns_to_draw_what_a_capsule_says(decoder):
    capsules, labels = torch.zeros(2, 2, 4), torch.tensor([0, 1])
    capsules[0, 0, 1] = capsules[1, 1, 2] = 0.9
    images = torch.zeros(2, 1, 16, 16)
    images[0, 0, 4:7] = images[1, 0, :, 9:12] = 1  # a bar across, and one down
    built = DECODERS[decoder](2, 4, (1, 16, 16))
    optimizer = torch.optim.Adam(built.parameters(), lr=0.003)
    for _ in range(100):
        optimizer.zero_grad()
        (built(capsules, labels) - images).square().mean().backward()
        optimizer.step()
    assert (built(capsules, labels) - images).abs().max() < 0.2


@pytest.mark.parametrize("name", ["capsnet", "small_capsnet", "efficient_capsnet", "res_capsnet"])
def test_every_capsule_network_can_have_either(name):
    config = config_from_dict({"model": {"name": name, "decoder": "convolutional"}})
    network = config.model.build((1, 28, 28), 10, config.routing)
    assert isinstance(network.decoder, ConvolutionalDecoder)


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_the_convolutional_decoder_learns_things_on_white_and_on_black_at_a_high_learning_rate(ground):
    torch.manual_seed(0)
    images, labels = torch.full((8, 3, 16, 16), ground), torch.arange(8) % 2
    images[::2, 0, 2:6, 2:6] = images[1::2, 2, 8:14, 7:12] = 0.5
    capsules = torch.zeros(8, 2, 8)
    capsules[range(8), labels] = torch.rand(8, 8) * 0.3
    built = ConvolutionalDecoder(2, 8, (3, 16, 16))
    built.begin_with(images.mean((0, 2, 3)))
    optimizer = torch.optim.Adam(built.parameters(), lr=0.004)
    for _ in range(60):
        optimizer.zero_grad()
        (0.392 * (built(capsules, labels) - images).square().mean()).backward()
        optimizer.step()
    with torch.no_grad():
        error = (built(capsules, labels) - images).square().mean()
    assert error < 0.1 * (images - ground).square().mean()  # of a sheet of the ground, which was drawn without it
