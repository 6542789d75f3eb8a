"""Claims about Efficient-CapsNet and the networks without capsules that it is compared with."""

import pytest
import torch

from capsnet.errors import ConfigError
from capsnet.networks.cnn import CNN
from capsnet.networks.efficient_capsnet import EfficientCapsNet, PrimaryCapsules
from capsnet.networks.resnet18 import ResNet18
from capsnet.networks.small_cnn import SmallCNN
from capsnet.routing.squash import steep_squash
from capsnet.settings.parse import config_from_dict
from capsnet.settings.routing import Attention, Dynamic, Uniform


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_efficient_capsnet_has_the_papers_161824_parameters_beside_its_decoder():
    network = EfficientCapsNet()
    assert parameters(network) - parameters(network.decoder) == 161_824


def test_its_primary_capsules_are_a_depthwise_convolution_over_the_whole_map():
    primary = PrimaryCapsules(channels=12, height=5, width=7, dim=4)
    torch.nn.init.normal_(primary.bias)
    convolution = torch.nn.Conv2d(12, 12, (5, 7), groups=12)
    with torch.no_grad():
        convolution.weight.copy_(primary.weight.unsqueeze(1))
        convolution.bias.copy_(primary.bias)
    features = torch.randn(3, 12, 5, 7)
    expected = steep_squash(convolution(features).flatten(1).view(3, 3, 4))
    torch.testing.assert_close(primary(features), expected)


@pytest.mark.parametrize("routing", [Attention(), Dynamic(iters=2), Uniform()])
def test_efficient_capsnet_takes_any_routing(routing):
    output = EfficientCapsNet(routing=routing).eval()(torch.rand(2, 1, 28, 28))
    assert output.capsules.shape == (2, 10, 16)


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


@pytest.mark.parametrize("model", ["capsnet", "efficient_capsnet"])
def test_a_capsule_network_without_a_routing_is_refused(model):
    with pytest.raises(ConfigError, match=f"routing=none: model={model} needs a routing"):
        config_from_dict({}, {"model": model, "routing": "none"})
