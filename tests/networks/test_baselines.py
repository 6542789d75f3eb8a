"""Claims about Efficient-CapsNet, its residual relative, and the networks without capsules beside them."""

import pytest
import torch

from capsnet.errors import ConfigError
from capsnet.networks.cnn import CNN
from capsnet.networks.efficient_capsnet import EfficientCapsNet, WholeMapCapsules
from capsnet.networks.res_capsnet import ResCapsNet, ResidualBlock
from capsnet.networks.resnet18 import ResNet18
from capsnet.networks.small_cnn import SmallCNN
from capsnet.routing.squash import steep_squash
from capsnet.settings.model import OPTIONS
from capsnet.settings.parse import config_from_dict
from capsnet.settings.routing import Attention, Dynamic, Uniform


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_efficient_capsnet_has_the_papers_161824_parameters_beside_its_decoder():
    network = EfficientCapsNet()
    assert parameters(network) - parameters(network.decoder) == 161_824


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("usual_places", [5, 35, 81])
def test_its_primary_capsules_are_a_depthwise_convolution_over_the_whole_map(layout, usual_places):
    primary = WholeMapCapsules(channels=12, height=5, width=7, dim=4, usual_places=usual_places)
    torch.nn.init.normal_(primary.bias)
    convolution = torch.nn.Conv2d(12, 12, (5, 7), groups=12)
    with torch.no_grad():
        convolution.weight.copy_(primary.kernel.unsqueeze(1))
        convolution.bias.copy_(primary.bias)
    features = torch.randn(3, 12, 5, 7).to(memory_format=layout)
    expected = steep_squash(convolution(features).flatten(1).view(3, 3, 4))
    torch.testing.assert_close(primary(features), expected)


@pytest.mark.parametrize("network", [EfficientCapsNet, ResCapsNet])
def test_primary_capsules_of_the_usual_images_have_their_weights_as_kernel(network):
    assert network((1, 28, 28)).primary.gain == 1
    assert "primary.gain" not in network((1, 28, 28)).state_dict()
    assert 0.1 < network((1, 64, 64)).primary.gain < 0.3


@pytest.mark.parametrize("side", [9, 27, 90])
def test_a_step_of_all_weights_moves_the_primary_capsules_as_far_on_any_larger_map(side):
    primary, features = WholeMapCapsules(8, side, side, 8, usual_places=81), torch.ones(1, 8, side, side)
    with torch.no_grad():
        primary.weight.zero_().add_(0.001)
    torch.testing.assert_close(primary(features).norm(), 1 - torch.tensor(-0.081 * 8**0.5).exp())


@pytest.mark.parametrize("network", [EfficientCapsNet, ResCapsNet])
@pytest.mark.parametrize("routing", [Attention(), Dynamic(iters=2), Uniform()])
def test_networks_with_capsules_of_the_whole_map_take_any_routing(network, routing):
    output = network(routing=routing).eval()(torch.rand(2, 1, 28, 28))
    assert output.capsules.shape == (2, 10, 16)


class TestResCapsNet:
    @pytest.mark.parametrize("stride", [1, 2, 3])
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 30), (28, 28)])
    def test_takes_images_of_any_size(self, height, width, stride):
        network = ResCapsNet((3, height, width), 5, width=4, blocks=1, stride=stride).eval()
        output = network(torch.rand(2, 3, height, width))
        assert output.capsules.shape == (2, 5, 16)
        assert output.reconstruction.shape == (2, 3, height, width)

    def test_with_a_stride_every_pixel_still_counts(self):
        images = torch.rand(1, 1, 28, 28, requires_grad=True)
        ResCapsNet(width=4, blocks=1, stride=4).stem(images).square().sum().backward()
        assert (images.grad != 0).all()

    @pytest.mark.parametrize("blocks", [1, 3])
    def test_each_stage_has_its_blocks(self, blocks):
        stem = ResCapsNet(width=4, blocks=blocks).stem
        shapes = [block.residual[0].weight.shape[:2] for block in stem if isinstance(block, ResidualBlock)]
        assert [tuple(shape) for shape in shapes] == [
            *[(4, 4)] * blocks,
            (8, 4),
            *[(8, 8)] * (blocks - 1),
            (16, 8),
            *[(16, 16)] * (blocks - 1),
        ]

    def test_a_block_adds_its_residual_to_what_came_in(self):
        block = ResidualBlock(3, 3, stride=1).eval()
        features = torch.randn(2, 3, 5, 5)
        torch.nn.init.zeros_(block.residual[-1].weight)
        torch.testing.assert_close(block(features), features)

    def test_capsules_that_do_not_divide_the_features_are_refused(self):
        with pytest.raises(ValueError, match=r"model.primary_dim=3: must divide 16, four times model.width"):
            ResCapsNet(width=4, primary_dim=3)


def test_small_cnn_is_as_large_as_efficient_capsnets_encoder():
    assert abs(parameters(SmallCNN((1, 28, 28), 10)) / 161_824 - 1) < 0.01


@pytest.mark.parametrize("network", [EfficientCapsNet, SmallCNN])
def test_too_small_images_are_refused(network):
    with pytest.raises(ValueError, match="are too small"):
        network((1, 3, 3), 10)


@pytest.mark.parametrize("network", [CNN, SmallCNN, ResNet18])
def test_networks_without_capsules_give_scores_only(network):
    output = network((3, 20, 24), 5).eval()(torch.rand(2, 3, 20, 24))
    assert output.scores.shape == (2, 5)
    assert (output.capsules, output.reconstruction) == (None, None)


@pytest.mark.parametrize("model", ["cnn", "small_cnn", "resnet18"])
def test_a_routing_for_a_network_without_capsules_is_refused(model):
    with pytest.raises(ConfigError, match=f"routing=dynamic: model={model} has no capsules to route"):
        config_from_dict({}, {"model": model, "routing": "dynamic"})


@pytest.mark.parametrize("model", [name for name, option in OPTIONS.items() if option.capsules])
def test_a_capsule_network_without_a_routing_is_refused(model):
    with pytest.raises(ConfigError, match=f"routing=none: model={model} needs a routing"):
        config_from_dict({}, {"model": model, "routing": "none"})
