"""Convolution through the Fourier domain, against the direct one in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from capsnet.networks.capsnet import CapsNet
from capsnet.networks.fourier import (
    FourierConv2d,
    choose_fourier,
    fourier_conv2d,
    multiplications,
    offer_fourier,
    worth_fourier,
)


@st.composite
def convolutions(draw):
    """Shapes of images and weights, stride and padding: tiles of every number, phases with and without weights."""
    kernel = [draw(st.integers(1, 9)) for _ in range(2)]
    padding = [draw(st.integers(0, 3)) for _ in range(2)]
    sides = [max(1, least - 2 * pad) + draw(st.integers(0, 24)) for least, pad in zip(kernel, padding, strict=True)]
    images = [draw(st.integers(1, 4)), draw(st.integers(1, 6)), *sides]
    weight = [draw(st.integers(1, 6)), images[1], *kernel]
    stride = [draw(st.integers(1, 4)) for _ in range(2)]
    return images, weight, tuple(stride), tuple(padding)


def outputs_and_gradients(convolve, images, weight, bias, gradient, **arguments):
    inputs = [tensor.clone().requires_grad_() for tensor in (images, weight, bias)]
    outputs = convolve(*inputs, **arguments)
    outputs.backward(gradient)
    return outputs.detach(), *(tensor.grad for tensor in inputs)


def relative_error(found, expected, scale=None):
    scale = expected if scale is None else scale
    return float((found.detach().double() - expected).norm() / scale.norm().clamp(min=1e-30))


@given(convolutions(), st.integers(0, 2**31), st.booleans())
@settings(max_examples=150, deadline=None)
def test_outputs_and_gradients_are_those_of_the_direct_convolution(shapes, seed, channels_last):
    images, weight, stride, padding = shapes
    random = torch.Generator().manual_seed(seed)
    images, weight, bias = (torch.randn(s, generator=random).double() for s in (images, weight, weight[:1]))
    arguments = {"stride": stride, "padding": padding}
    gradient = torch.randn(F.conv2d(images, weight, bias, **arguments).shape, generator=random).double()
    doubles = (images, weight, bias, gradient)
    exact = outputs_and_gradients(F.conv2d, *doubles, **arguments)
    # A sum of few terms may cancel to nearly nothing. So errors are compared with what the terms sum up to by size.
    scales = outputs_and_gradients(F.conv2d, *(tensor.abs() for tensor in doubles), **arguments)
    if channels_last:
        doubles = (images.to(memory_format=torch.channels_last), *doubles[1:])
    for dtype, most in ((torch.float64, 1e-14), (torch.float32, 2e-6)):
        found = outputs_and_gradients(fourier_conv2d, *(tensor.to(dtype) for tensor in doubles), **arguments)
        for values, expected, scale in zip(found, exact, scales, strict=True):
            assert relative_error(values, expected, scale) < most


def test_sums_over_many_channels_are_as_exact_as_the_direct_convolutions():
    torch.manual_seed(0)
    images, weight = torch.rand(8, 256, 20, 20), torch.randn(64, 256, 9, 9) / 144
    bias, gradient = torch.zeros(64), torch.randn(8, 64, 6, 6)
    exact = outputs_and_gradients(
        F.conv2d, images.double(), weight.double(), bias.double(), gradient.double(), stride=(2, 2)
    )
    found = outputs_and_gradients(fourier_conv2d, images, weight, bias, gradient, stride=(2, 2))
    for values, expected in zip(found, exact, strict=True):
        assert relative_error(values, expected) < 2e-6


def test_only_needed_gradients_are_computed():
    images, weight = torch.rand(2, 3, 12, 12), torch.randn(4, 3, 5, 5, requires_grad=True)
    fourier_conv2d(images, weight).sum().backward()
    assert images.grad is None
    assert torch.allclose(weight.grad[0, :, 0, 0], images[:, :, :8, :8].sum((0, 2, 3)), rtol=1e-4)


def test_second_derivatives_and_gradients_of_each_image_are_those_of_the_direct_convolution():
    images = torch.randn(2, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *inputs: fourier_conv2d(*inputs, stride=(2, 1)), (images, weight))

    def of_one(convolve):
        return torch.func.grad(lambda weight, image: convolve(image[None], weight).square().sum())

    found, expected = (torch.func.vmap(of_one(one), (None, 0))(weight, images) for one in (fourier_conv2d, F.conv2d))
    torch.testing.assert_close(found, expected)


def test_products_are_bfloat16_under_autocast_and_sums_float32():
    torch.manual_seed(0)
    images, weight = torch.rand(4, 32, 20, 20), torch.randn(16, 32, 9, 9)
    exact = F.conv2d(images, weight, stride=2)
    with torch.autocast("cpu", torch.bfloat16):
        found = fourier_conv2d(images, weight, stride=(2, 2))
    assert found.dtype == torch.float32
    assert 1e-5 < relative_error(found, exact.double()) < 2e-2


class TestChoice:
    shape = (128, 256, 20, 20)

    def test_by_itself_it_takes_whatever_needs_fewer_multiplications(self):
        convolution = FourierConv2d(256, 256, 9, 2)
        assert convolution.uses_fourier(self.shape)
        assert not convolution.uses_fourier((1, *self.shape[1:]))
        assert not FourierConv2d(64, 64, 3).uses_fourier((128, 64, 28, 28))
        assert not FourierConv2d(1, 256, 9).uses_fourier((128, 1, 28, 28))

    def test_elsewhere_than_in_float32_on_a_cpu_it_is_direct(self):
        convolution = FourierConv2d(256, 256, 9, 2)
        assert not convolution.to("meta").uses_fourier(self.shape)
        assert not FourierConv2d(256, 256, 9, 2).double().uses_fourier(self.shape)

    def test_always_and_off_hold_for_every_convolution_of_a_network(self):
        network = CapsNet(conv_channels=4, primary_capsules=1)
        offer_fourier(network)
        for choice, used in (("always", True), ("off", False)):
            choose_fourier(network, choice)
            assert network.primary.conv.uses_fourier((2, 4, 20, 20)) is used

    def test_of_capsnets_convolutions_the_second_is_worth_it_in_large_batches_only(self):
        network = CapsNet()
        offer_fourier(network)
        image = torch.zeros(1, 1, 28, 28)
        assert worth_fourier(network, image, batch=128) == [network.primary.conv]
        assert worth_fourier(network, image, batch=1) == []

    def test_what_is_exported_convolves_directly(self):
        convolution = FourierConv2d(1, 2, 5)
        convolution.fourier = "always"
        exported = torch.export.export(convolution, (torch.rand(2, 1, 9, 9),))
        assert [str(node.target) for node in exported.graph.nodes if node.op == "call_function"] == [
            "aten.conv2d.default"
        ]

    def test_the_counts_are_those_of_the_papers_primary_capsules(self):
        direct, fourier = multiplications(self.shape, (256, 256, 9, 9), (2, 2))
        assert direct == 128 * 36 * 81 * 256 * 256
        assert fourier > 148 * 4 * 128 * 256 * 256  # 148 products of matrices in each of 4 phases, and the transforms

    def test_weights_are_those_of_an_ordinary_convolution(self):
        convolution = FourierConv2d(2, 3, 5)
        torch.nn.Conv2d(2, 3, 5).load_state_dict(convolution.state_dict())


def test_a_network_that_is_offered_it_keeps_its_weights_and_its_results():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
        torch.nn.Sequential(torch.nn.Conv2d(4, 6, (5, 3), padding=(2, 1))),
        torch.nn.Conv2d(6, 6, 3, groups=2),
    )
    images, weights = torch.rand(3, 2, 16, 16), network.state_dict()
    expected = network(images)
    offer_fourier(network)
    choose_fourier(network, "always")
    assert relative_error(network(images), expected.detach().double()) < 1e-5
    assert [type(network[0]), type(network[1][0]), type(network[2])] == [*[FourierConv2d] * 2, torch.nn.Conv2d]
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(weights[name], now) for name, now in network.state_dict().items())


@pytest.mark.parametrize("choice", ["always", "off"])
def test_a_network_is_the_same_with_and_without(choice):
    torch.manual_seed(0)
    network = CapsNet(conv_channels=16, primary_capsules=2)
    images, labels = torch.rand(4, 1, 28, 28), torch.arange(4)
    exact = network.double()(images.double(), labels)
    network = network.float()
    offer_fourier(network)
    choose_fourier(network, choice)
    assert relative_error(network(images, labels).scores, exact.scores.detach()) < 1e-5
