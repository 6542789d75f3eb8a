"""Claims about the network: its size, its shapes, which channels make a capsule, what is decoded, how it starts."""

from functools import partial

import pytest
import torch
from conftest import record_of, run_in_process
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from capsnet import CapsNet, dynamic_routing, margin_loss, squash
from capsnet.networks.capsnet import PrimaryCapsules, primary_grid, suitable_stride
from capsnet.routing.dynamic import DynamicRouting
from capsnet.routing.uniform import UniformRouting
from capsnet.settings import model
from capsnet.settings.routing import Dynamic, Uniform

SMALL = {"conv_channels": 8, "primary_capsules": 2, "primary_dim": 4, "class_dim": 6}


def test_the_papers_network_has_8215568_parameters():
    assert sum(parameter.numel() for parameter in CapsNet().parameters()) == 8_215_568


def test_the_option_builds_the_papers_network_unless_told_otherwise():
    built = model.CapsNet().build((1, 28, 28), 10, Dynamic())
    expected = {name: value.shape for name, value in CapsNet().state_dict().items()}
    assert {name: value.shape for name, value in built.state_dict().items()} == expected


@hypothesis_settings(max_examples=30)
@given(
    channels=st.sampled_from([1, 3]), height=st.integers(17, 40), width=st.integers(17, 40), classes=st.integers(2, 6)
)
def test_any_image_shape_and_number_of_classes_works(channels, height, width, classes):
    network = CapsNet((channels, height, width), classes, **SMALL)
    output = network(torch.rand(2, channels, height, width))
    assert output.capsules.shape == (2, classes, 6)
    assert output.scores.shape == (2, classes)
    assert output.reconstruction.shape == (2, channels, height, width)
    assert ((output.scores >= 0) & (output.scores < 1)).all()
    assert ((output.reconstruction >= 0) & (output.reconstruction <= 1)).all()


@given(height=st.integers(17, 80), width=st.integers(17, 80))
def test_the_computed_grid_is_what_the_convolutions_leave(height, width):
    convolutions = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 9), torch.nn.Conv2d(1, 1, 9, 2))
    assert primary_grid(height, width) == tuple(convolutions(torch.zeros(1, 1, height, width)).shape[2:])


@pytest.mark.parametrize("shape", [(1, 16, 28), (1, 28, 16), (3, 8, 8)])
def test_too_small_an_image_is_refused_with_the_size_that_is_needed(shape):
    with pytest.raises(ValueError, match="at least 17x17"):
        CapsNet(shape)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected images \[batch, 1, 28, 28\]"):
        CapsNet(**SMALL)(torch.rand(2, 1, 32, 32))


def test_an_impossible_routing_is_refused_when_the_network_is_built():
    with pytest.raises(ValueError, match="at least 1"):
        CapsNet(**SMALL, routing=Dynamic(iters=0))


@pytest.mark.parametrize(
    ("routing", "iters"),
    [
        ({}, 3),
        ({"routing": Dynamic(iters=2)}, 2),
        ({"routing": partial(DynamicRouting, iters=5)}, 5),
        ({"routing": Uniform()}, 1),
        ({"routing": UniformRouting}, 1),
    ],
)
def test_class_capsules_are_routed_from_the_primary_capsules_as_asked(routing, iters):
    network, images = CapsNet(**SMALL, **routing), torch.rand(2, 1, 28, 28)
    u = network.primary(network.conv(images).relu())
    torch.testing.assert_close(network(images).capsules, dynamic_routing(u, network.routing.weight, iters))


def test_scores_are_the_lengths_of_the_class_capsules():
    output = CapsNet(**SMALL)(torch.rand(2, 1, 28, 28))
    torch.testing.assert_close(output.scores, output.capsules.square().sum(-1).sqrt())


def test_a_primary_capsule_is_neighbouring_channels_at_one_position():
    layer = PrimaryCapsules(in_channels=3, types=2, dim=4)
    features = torch.randn(1, 3, 13, 15)
    channels = layer.conv(features)[0]  # [types * dim, rows, columns]
    rows, columns = channels.shape[1:]
    capsules = layer(features)[0].view(2, rows, columns, 4)
    for kind in range(2):
        for row in range(rows):
            for column in range(columns):
                vector = channels[kind * 4 : kind * 4 + 4, row, column]
                torch.testing.assert_close(capsules[kind, row, column], squash(vector))


def test_without_labels_the_longest_capsule_is_decoded():
    network = CapsNet(**SMALL).eval()
    images = torch.rand(4, 1, 28, 28)
    free = network(images)
    torch.testing.assert_close(network(images, free.scores.argmax(1)).reconstruction, free.reconstruction)


def test_dropout_acts_on_the_decoder_in_training_only():
    network = CapsNet(**SMALL, dropout=0.5)
    images, labels = torch.rand(2, 1, 28, 28), torch.tensor([1, 2])
    one, other = network(images, labels), network(images, labels)
    torch.testing.assert_close(one.capsules, other.capsules, rtol=0, atol=0)
    assert not torch.equal(one.reconstruction, other.reconstruction)
    network.eval()
    assert torch.equal(network(images, labels).reconstruction, network(images, labels).reconstruction)


@pytest.mark.parametrize("routing", [Dynamic(), Uniform()])
def test_every_parameter_gets_a_gradient_that_is_finite_even_on_black_images(routing):
    network = CapsNet(**SMALL, routing=routing)
    labels = torch.tensor([0, 1])
    for images in (torch.rand(2, 1, 28, 28), torch.zeros(2, 1, 28, 28)):
        network.zero_grad()
        output = network(images, labels)
        (margin_loss(output.scores, labels) + output.reconstruction.mean()).backward()
        for name, parameter in network.named_parameters():
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("sizes", [{}, {"num_classes": 49}, {"image_shape": (1, 40, 40)}, SMALL])
def test_class_capsules_start_neither_dead_nor_saturated(sizes):
    shape = sizes.get("image_shape", (1, 28, 28))
    strokes = (torch.rand(16, *shape) > 0.8).float()
    lengths = CapsNet(**sizes)(strokes).scores
    assert 0.05 < lengths.mean() < 0.6


def test_works_under_bf16_autocast_with_capsules_in_float32():
    network = CapsNet(**SMALL)
    images = torch.rand(2, 1, 28, 28)
    plain = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(images)
    assert output.capsules.dtype == torch.float32
    assert (output.capsules - plain.capsules).norm() / plain.capsules.norm() < 2e-2


def test_a_network_in_float64_computes_in_float64():
    network = CapsNet(**SMALL).double()
    images = torch.rand(2, 1, 28, 28).double()
    assert network.primary(network.conv(images).relu()).dtype == torch.float64
    assert network(images).capsules.dtype == torch.float64


def test_the_authors_class_bias_has_160_parameters_and_their_first_weights_are_truncated_at_two_deviations():
    network = CapsNet(divide_primary=True, first_weights="authors", routing=Dynamic(bias=True))
    assert sum(parameter.numel() for parameter in network.parameters()) == 8_215_728
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0.1).all()
        else:
            deviation = 0.05 if name == "conv.weight" else 0.1
            assert 1.9 * deviation < parameter.abs().max() <= 2 * deviation
            assert float(parameter.std()) == pytest.approx(0.88 * deviation, rel=0.03)


def test_divided_primary_capsules_are_those_of_a_convolution_with_smaller_weights():
    divided, plain = PrimaryCapsules(3, 4, 8, divide=True), PrimaryCapsules(3, 4, 8)
    torch.nn.init.normal_(divided.conv.bias)
    plain.load_state_dict({"conv.weight": divided.conv.weight / 4, "conv.bias": divided.conv.bias})
    features = torch.randn(2, 3, 13, 15)
    torch.testing.assert_close(divided(features), plain(features))


@pytest.mark.parametrize(("side", "stride"), [(17, 1), (28, 1), (44, 1), (45, 2), (62, 2), (63, 3), (64, 3), (128, 6)])
def test_the_stride_that_suits_a_size_is_the_largest_that_leaves_the_papers_grid(side, stride):
    assert suitable_stride(side, side) == stride
    if side >= 28:
        assert min(primary_grid(side, side, stride)) >= 6
        assert stride == 1 or min(primary_grid(side, side, stride + 1)) < 6


def test_a_larger_stride_keeps_the_network_small_and_works_on_images_that_are_not_square():
    network = CapsNet((1, 64, 50), **SMALL, conv_stride=3)
    output = network(torch.rand(2, 1, 64, 50))
    assert network.routing.weight.shape[1] == 6 * 3 * SMALL["primary_capsules"]
    assert output.reconstruction.shape == (2, 1, 64, 50)
    with pytest.raises(ValueError, match="at least 33x33"):
        CapsNet((1, 32, 32), **SMALL, conv_stride=3)


@pytest.mark.slow
def test_learns_with_attention_routing_at_its_own_learning_rate(tmp_path):
    settings = ("data=digits", "data.limit=800", "data.batch_size=32", "trainer.max_epochs=2", "figures=false")
    small = ("model.conv_channels=64", "model.primary_capsules=8")
    done = run_in_process("train.py", *settings, *small, "routing=attention", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "run")["val_accuracy"] > 0.5
