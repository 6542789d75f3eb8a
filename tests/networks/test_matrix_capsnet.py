"""Claims about the network of matrix capsules: its sizes, and that no row or column of an image is left out."""

import pytest
import torch
from conftest import wanted

from capsnet.networks.matrix_capsnet import MatrixCapsNet
from capsnet.settings.parse import config_from_dict
from capsnet.settings.routing import OPTIONS, Em, Inverted, Vb

SMALL = {"conv_channels": 4, "primary_capsules": 2, "first_capsules": 3, "second_capsules": 2}
LARGE = {"conv_channels": 32, "primary_capsules": 32, "first_capsules": 32, "second_capsules": 32}


@pytest.mark.parametrize(
    ("routing", "settings", "count"),
    [
        (Em(batch_norm=False), {"batch_norm": False}, 68_618),
        (Em(batch_norm=False), {"batch_norm": False, **LARGE}, 316_650),
        (Vb(), {}, 68_714),
    ],
)
def test_the_papers_networks_have_their_numbers_of_parameters(routing, settings, count):
    network = MatrixCapsNet((2, 32, 32), 5, **settings, routing=routing)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 29), (1, 31, 30), (1, 40, 40)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_pixel_has_a_say(shape, stride):
    network = MatrixCapsNet(shape, 3, conv_stride=stride, **SMALL, routing=OPTIONS["uniform"]()).eval()
    images = torch.rand(1, *shape, requires_grad=True)
    network(images).capsules[0, 0, 0].backward()
    assert (images.grad.abs().sum((0, 1)) > 0).float().mean() > 0.9  # some features are 0 by ReLU
    for edge in (images.grad[..., -1, :], images.grad[..., :, -1]):
        assert edge.any()


def test_an_image_that_is_too_small_is_refused_with_the_size_that_is_needed():
    with pytest.raises(ValueError, match="at least 23x23"):
        MatrixCapsNet((1, 12, 40), 3, **SMALL, pad=False)


def test_in_concurrent_passes_each_layer_works_with_what_the_pass_before_left_below():
    network = MatrixCapsNet(num_classes=3, **SMALL, routing=Inverted(iters=3)).eval()
    images = torch.rand(2, 1, 28, 28)
    primary, *layers = network.all_layers(images, passes=1)
    for _ in range(2):
        below = [primary, *layers[:-1]]
        layers = [layer(children, own) for layer, children, own in zip(network.layers, below, layers, strict=True)]
    torch.testing.assert_close(network.all_layers(images)[-1].poses, layers[-1].poses)


def test_sixty_steps_stay_finite_and_learn_with_every_routing():
    for name in OPTIONS:
        if hasattr(OPTIONS[name], "build_matrices"):
            assert learned(name) > 0.5, name


def learned(routing):
    """The share of bright rows that are recognized after training on them."""
    config = config_from_dict({"model": {"name": "matrix_capsnet", **SMALL}, "routing": {"name": routing}})
    torch.manual_seed(0)
    network, loss = config.model.build((1, 20, 20), 3, config.routing), config.loss.build()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        images, labels = bright_rows(12)
        optimizer.zero_grad()
        parts = loss(network(images), wanted(labels, images))
        assert torch.isfinite(parts["loss"])
        parts["loss"].backward()
        optimizer.step()
    images, labels = bright_rows(60)
    with torch.no_grad():
        return float((network.eval()(images).scores.argmax(1) == labels).float().mean())


def bright_rows(count):
    labels = torch.randint(3, (count,))
    images = 0.2 * torch.rand(count, 1, 20, 20)
    images[torch.arange(count), 0, 4 + 5 * labels] = 1
    return images, labels


@pytest.mark.parametrize("name", ["em", "vb"])
def test_gradients_at_the_first_weights_do_not_explode_with_the_iterations(name):
    sizes = {"conv_channels": 16, "primary_capsules": 4, "first_capsules": 4, "second_capsules": 4}
    found = {}
    for iters in (1, 3):
        torch.manual_seed(0)
        network = MatrixCapsNet((1, 23, 23), 5, **sizes, routing=OPTIONS[name](iters=iters))
        images = torch.rand(16, 1, 23, 23, generator=torch.Generator().manual_seed(1)).requires_grad_()
        network(images).scores[:, 0].sum().backward()
        found[iters] = float(images.grad.norm())
    assert found[3] < 5 * found[1], found


def test_the_smallest_image_is_one_row_larger_than_what_is_refused():
    MatrixCapsNet((1, 18, 18), 3, **SMALL)
    with pytest.raises(ValueError, match="at least 18x18"):
        MatrixCapsNet((1, 17, 18), 3, **SMALL)
