"""Claims about derivatives beyond one gradient of a batch: second ones, and those of each image by itself."""

from functools import partial

import pytest
import torch
from torch.func import functional_call, grad, vmap

from capsnet import CapsNet, MatrixCapsNet, margin_loss, spread_loss
from capsnet.routing.attention import AttentionRouting
from capsnet.routing.dynamic import DynamicRouting
from capsnet.routing.inverted import InvertedRouting
from capsnet.routing.static import StaticRouting
from capsnet.settings.routing import OPTIONS

VECTORS = [
    *(partial(DynamicRouting, iters=3), partial(DynamicRouting, iters=2, bias=True, leaky=True)),
    *(AttentionRouting, StaticRouting, partial(InvertedRouting, iters=3)),
]


@pytest.mark.parametrize("build", VECTORS)
def test_second_derivatives_of_routing_are_those_of_finite_differences(build):
    routing, u = build(5, 3, 4, 6).double(), torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*routing.named_parameters(), strict=True)

    def capsules(u, *weights):
        return functional_call(routing, dict(zip(names, weights, strict=True)), (u,))

    assert torch.autograd.gradgradcheck(capsules, (u, *weights))


def test_a_routing_that_cannot_be_differentiated_twice_says_so():
    network, images = small_network("em"), torch.rand(2, 1, 28, 28, requires_grad=True)
    with pytest.raises(RuntimeError, match="create_graph=True"):
        torch.autograd.grad(network(images).scores.sum(), images, create_graph=True)


@pytest.mark.parametrize("loss", [margin_loss, spread_loss])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_routing_gives_the_gradient_of_each_image_by_itself(name, loss):
    if name == "none":
        return
    network = small_network(name).double().eval()
    images, labels = torch.rand(3, 1, 28, 28).double(), torch.tensor([3, 0, 9])
    weights = dict(network.named_parameters())

    def of_one(weights, image, label):
        return loss(functional_call(network, weights, (image[None],)).scores, label[None])

    found = vmap(grad(of_one), in_dims=(None, 0, 0))(weights, images, labels)
    for number in range(3):
        alone = loss(network(images[number : number + 1]).scores, labels[number : number + 1])
        expected = torch.autograd.grad(alone, list(weights.values()), allow_unused=True, materialize_grads=True)
        assert any(one.abs().max() > 1e-6 for one in expected)
        for gradients, one in zip(found.values(), expected, strict=True):
            torch.testing.assert_close(gradients[number], one, rtol=1e-6, atol=1e-12)


def test_transforms_take_batches_that_are_routed_in_groups():
    network, images = small_network("em").eval(), torch.rand(4, 1, 28, 28)
    weights, labels = dict(network.named_parameters()), torch.arange(4)

    def of_all(weights):
        return spread_loss(functional_call(network, weights, (images,)).scores, labels)

    whole = grad(of_all)(weights)
    for layer in network.layers:
        layer.images_at_once = lambda poses: 2
    for expected, found in zip(whole.values(), grad(of_all)(weights).values(), strict=True):
        torch.testing.assert_close(found, expected)


def small_network(name):
    if hasattr(OPTIONS[name], "build_matrices"):
        sizes = {"primary_capsules": 2, "first_capsules": 2, "second_capsules": 2}
        return MatrixCapsNet(conv_channels=8, **sizes, routing=OPTIONS[name]())
    return CapsNet(conv_channels=8, primary_capsules=2, routing=OPTIONS[name]())
