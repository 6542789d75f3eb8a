"""Claims about dynamic routing, held against the paper's procedure 1 in float64."""

import math

import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import capsules

from capsnet import dynamic_routing, squash
from capsnet.routing.dynamic import DynamicRouting

ITERS = [1, 2, 3, 5]


@pytest.mark.parametrize("iters", ITERS)
def test_agrees_with_the_papers_procedure_in_value_and_gradient(iters):
    u, weight = capsules()
    towards = torch.randn(3, 5, 6, dtype=torch.float64)
    found, expected = [], []
    for route, into in ((dynamic_routing, found), (reference.routing, expected)):
        leaves = [u.clone().requires_grad_(), weight.clone().requires_grad_()]
        v = route(*leaves, iters)
        (v * towards).sum().backward()
        into.extend([v, *(leaf.grad for leaf in leaves)])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("iters", ITERS)
def test_float32_agrees_with_float64_to_its_own_precision(iters):
    u, weight = capsules(in_caps=200, in_dim=8, out_caps=10, out_dim=16)
    v = dynamic_routing(u.float(), weight.float() / 20, iters)
    expected = reference.routing(u, weight / 20, iters)
    assert (v - expected).norm() / expected.norm() < 1e-5


@given(iters=st.integers(1, 4), shape=st.tuples(*[st.integers(1, 5)] * 5), scale=st.floats(0.01, 10))
def test_any_shape_gives_capsules_shorter_than_one(iters, shape, scale):
    u, weight = capsules(*shape, scale=scale)
    v = dynamic_routing(u, weight, iters)
    assert v.shape == (shape[0], shape[3], shape[4])
    assert (v.norm(dim=-1) < 1).all()
    torch.testing.assert_close(v, reference.routing(u, weight, iters))


@given(iters=st.integers(1, 4), seed=st.integers(0, 100))
def test_the_order_of_capsules_is_the_order_of_results(iters, seed):
    u, weight = capsules()
    generator = torch.Generator().manual_seed(seed)
    outputs, inputs = torch.randperm(5, generator=generator), torch.randperm(7, generator=generator)
    v = dynamic_routing(u, weight, iters)
    torch.testing.assert_close(dynamic_routing(u, weight[outputs], iters), v[:, outputs])
    torch.testing.assert_close(dynamic_routing(u[:, inputs], weight[:, inputs], iters), v)


def test_coupling_coefficients_of_each_input_capsule_sum_to_one():
    # Output capsules that all predict alike share each input capsule's vote equally at any iteration. With
    # coefficients that sum to one, the s_j then sum to Σ_i û_i, whatever the number of output capsules.
    u, weight = capsules(out_caps=1)
    total = torch.einsum("bid,oide->be", u, weight)
    for out_caps in (1, 2, 7):
        v = dynamic_routing(u, weight.expand(out_caps, -1, -1, -1), 3)
        torch.testing.assert_close(v, squash(total / out_caps).unsqueeze(1).expand(-1, out_caps, -1))


def test_a_lone_output_capsule_takes_every_vote_in_full():
    u, weight = capsules(out_caps=1)
    expected = squash(torch.einsum("bid,oide->boe", u, weight))
    torch.testing.assert_close(dynamic_routing(u, weight, 3), expected)


def test_images_do_not_influence_each_other():
    u, weight = capsules(batch=4)
    together = dynamic_routing(u, weight, 3)
    alone = torch.cat([dynamic_routing(image.unsqueeze(0), weight, 3) for image in u])
    torch.testing.assert_close(together, alone)


def test_more_iterations_strengthen_the_capsule_that_votes_agree_on():
    u = torch.ones(1, 10, 1, dtype=torch.float64)
    weight = torch.zeros(2, 10, 1, 2, dtype=torch.float64)
    weight[0, :, 0, 0] = 1  # every vote for the first capsule says the same
    weight[1, :, 0] = torch.tensor([[math.cos(angle), math.sin(angle)] for angle in range(10)])
    shares = [dynamic_routing(u, weight, iters).norm(dim=-1)[0, 0].item() for iters in (1, 2, 3)]
    assert shares == sorted(shares)
    assert shares[2] > shares[0]


@pytest.mark.parametrize("iters", [0, -1])
def test_fewer_than_one_iteration_is_refused(iters):
    with pytest.raises(ValueError, match="at least 1"):
        dynamic_routing(*capsules(), iters)
    with pytest.raises(ValueError, match="at least 1"):
        DynamicRouting(in_caps=7, in_dim=4, out_caps=5, out_dim=6, iters=iters)


def test_shapes_that_do_not_fit_are_refused():
    u, weight = capsules()
    with pytest.raises(ValueError, match="in_caps"):
        dynamic_routing(u[:, :-1], weight, 3)


@pytest.mark.parametrize("iters", ITERS)
def test_bfloat16_autocast_agrees_with_float64_to_bfloat16s_precision(iters):
    u, weight = capsules(in_caps=200, in_dim=8, out_caps=10, out_dim=16)
    with torch.autocast("cpu", torch.bfloat16):
        v = dynamic_routing(u.float(), weight.float() / 20, iters)
    assert v.dtype == torch.float32
    expected = reference.routing(u, weight / 20, iters)
    assert (v - expected).norm() / expected.norm() < 2e-2


def test_float16_autocast_computes_in_float32():
    u, weight = capsules(dtype=torch.float32)
    with torch.autocast("cpu", torch.float16):
        v = dynamic_routing(u, weight, 3)
    torch.testing.assert_close(v, dynamic_routing(u, weight, 3), rtol=0, atol=0)


@pytest.mark.parametrize("chunk_bytes", [1, 3 * 8 * 5 * 4 * 3, 10**9])
def test_any_size_of_the_chunks_of_input_capsules_gives_the_same(monkeypatch, chunk_bytes):
    u, weight = capsules()
    expected = dynamic_routing(u, weight, 3)
    monkeypatch.setattr("capsnet.routing.votes.CPU_CHUNK_BYTES", chunk_bytes)
    torch.testing.assert_close(dynamic_routing(u, weight, 3), expected)


@pytest.mark.parametrize("iters", ITERS)
@pytest.mark.parametrize("chunk_bytes", [1, 10**9])
def test_the_gradient_is_that_of_finite_differences_in_chunks_of_any_size(monkeypatch, iters, chunk_bytes):
    monkeypatch.setattr("capsnet.routing.votes.CPU_CHUNK_BYTES", chunk_bytes)
    u, weight = capsules(batch=2, in_caps=3, in_dim=2, out_caps=3, out_dim=2)
    leaves = u.requires_grad_(), weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda u, weight: dynamic_routing(u, weight, iters), leaves)


def test_the_gradient_is_finite_for_capsules_of_length_zero():
    u, weight = capsules()
    leaves = torch.zeros_like(u).requires_grad_(), weight.requires_grad_()
    dynamic_routing(*leaves, 3).sum().backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)


@pytest.mark.parametrize(("in_bfloat16", "tolerance"), [(False, 1e-5), (True, 2e-2)])
def test_gradients_agree_with_float64_to_the_precision_of_their_factors(in_bfloat16, tolerance):
    u, weight = capsules(in_caps=200, in_dim=8, out_caps=10, out_dim=16)
    towards = torch.randn(3, 10, 16, dtype=torch.float64)
    grads = []
    for route, dtype in ((dynamic_routing, torch.float32), (reference.routing, torch.float64)):
        leaves = [x.to(dtype).requires_grad_() for x in (u, weight / 20)]
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16 and dtype == torch.float32):
            v = route(*leaves, 3)
        (v * towards.to(dtype)).sum().backward()
        grads.append([leaf.grad.double() for leaf in leaves])
    for ours, theirs in zip(*grads, strict=True):
        assert (ours - theirs).norm() / theirs.norm() < tolerance


def test_the_layer_routes_by_its_own_weight_and_iterations():
    layer = DynamicRouting(in_caps=7, in_dim=4, out_caps=5, out_dim=6, iters=2).double()
    assert layer.weight.shape == (5, 7, 4, 6)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    u, _ = capsules()
    torch.testing.assert_close(layer(u), reference.routing(u, layer.weight, 2))


def test_the_function_and_the_layer_route_alike_by_default():
    layer, u = DynamicRouting(6, 4, 3, 5), torch.randn(2, 6, 4)
    assert torch.equal(dynamic_routing(u, layer.weight), layer(u))


def test_no_images_have_no_capsules():
    assert dynamic_routing(torch.empty(0, 4, 3), torch.rand(2, 4, 3, 5)).shape == (0, 2, 5)
