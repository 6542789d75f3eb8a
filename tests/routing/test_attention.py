"""Claims about attention routing, checked against the paper's text in float64."""

import math

import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import capsules

from capsnet.routing.attention import AttentionRouting, attention_routing
from capsnet.routing.squash import steep_squash


def values_and_gradients(route, *inputs, towards):
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    v = route(*leaves)
    (v * towards).sum().backward()
    return [v.detach(), *(leaf.grad for leaf in leaves)]


def test_agrees_with_explicit_votes_in_value_and_gradient():
    u, weight = capsules()
    prior, towards = 0.1 * torch.randn(weight.shape[:2]).double(), torch.randn(len(u), len(weight), 6).double()
    found = values_and_gradients(attention_routing, u, weight, prior, towards=towards)
    expected = values_and_gradients(reference.attention_routing, u, weight, prior, towards=towards)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sizes", [(8, 16, 8, 10, 16), (4, 1152, 8, 10, 16)])
def test_float32_agrees_with_float64_to_its_own_precision(sizes):
    batch, in_caps, in_dim, out_caps, out_dim = sizes
    u = 0.3 * torch.randn(batch, in_caps, in_dim, dtype=torch.float64)
    weight = torch.randn(out_caps, in_caps, in_dim, out_dim, dtype=torch.float64) / in_caps**0.5
    prior = 0.1 * torch.randn(out_caps, in_caps, dtype=torch.float64)
    towards = torch.randn(batch, out_caps, out_dim, dtype=torch.float64)
    single = [tensor.float() for tensor in (u, weight, prior)]
    found = values_and_gradients(attention_routing, *single, towards=towards.float())
    expected = values_and_gradients(reference.attention_routing, u, weight, prior, towards=towards)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() / theirs.norm() < 1e-5


@pytest.mark.parametrize("chunk_bytes", [1, 3 * 8 * 5 * 4 * 3, 10**9])
def test_any_size_of_the_chunks_of_input_capsules_gives_the_same(monkeypatch, chunk_bytes):
    u, weight = capsules()
    prior, towards = torch.rand(weight.shape[:2]).double(), torch.randn(len(u), len(weight), 6).double()
    expected = values_and_gradients(attention_routing, u, weight, prior, towards=towards)
    monkeypatch.setattr("capsnet.routing.votes.CPU_CHUNK_BYTES", chunk_bytes)
    for ours, theirs in zip(
        values_and_gradients(attention_routing, u, weight, prior, towards=towards), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_those_of_finite_differences():
    u, weight = capsules(batch=2, in_caps=3, in_dim=2, out_caps=3, out_dim=2)
    inputs = [tensor.requires_grad_() for tensor in (u, weight, torch.rand(3, 3).double())]
    assert torch.autograd.gradcheck(attention_routing, inputs)


def test_the_prior_starts_at_zero_and_is_learned():
    routing = AttentionRouting(7, 4, 5, 6)
    assert not routing.prior.any()
    routing(torch.randn(3, 7, 4)).square().sum().backward()
    assert routing.prior.grad.abs().min() > 0


def test_shapes_that_do_not_fit_are_refused():
    u, weight = capsules()
    with pytest.raises(ValueError, match="prior must be"):
        attention_routing(u, weight, torch.zeros(7, 5).double())


@given(length=st.floats(1e-6, 30), dim=st.integers(1, 20), seed=st.integers(0, 1000))
def test_steep_squash_gives_the_papers_length_and_keeps_the_direction(length, dim, seed):
    direction = torch.randn(dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    direction /= direction.norm()
    v = steep_squash(length * direction)
    assert v.norm().item() == pytest.approx(-math.expm1(-length), rel=1e-9)
    torch.testing.assert_close(v / v.norm(), direction)


def test_steep_squash_has_a_finite_gradient_at_zero():
    s = torch.zeros(2, 8, requires_grad=True)
    steep_squash(s).sum().backward()
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("in_caps", [16, 1152])
@pytest.mark.parametrize("out_caps", [2, 10, 20, 49, 200])
def test_no_output_capsule_is_long_before_training_whatever_their_number(in_caps, out_caps):
    u = torch.nn.functional.normalize(torch.randn(8, in_caps, 8), dim=2)
    lengths = AttentionRouting(in_caps, 8, out_caps, 16)(u).norm(dim=2)
    assert 0.002 < lengths.mean() < 0.4
    assert lengths.max() < 0.6
