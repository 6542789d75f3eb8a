"""Claims about squashing, held against the paper's equation 1."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capsnet import squash
from capsnet.routing.squash import steep_squash


@given(length=st.floats(1e-6, 1e3), dim=st.integers(1, 20), seed=st.integers(0, 1000))
def test_the_length_is_the_papers_and_the_direction_stays(length, dim, seed):
    direction = torch.randn(dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    direction /= direction.norm()
    v = squash(length * direction)
    assert v.norm().item() == pytest.approx(length**2 / (1 + length**2), rel=1e-12)
    assert v.norm() < 1
    torch.testing.assert_close(v / v.norm(), direction)


@pytest.mark.parametrize("squashed", [squash, steep_squash])
def test_lengths_of_half_precision_stay_below_one(squashed):
    v = squashed((torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) * 20).bfloat16())
    assert v.dtype == torch.float32
    assert v.norm(dim=1).max() <= 1 + 1e-6


def test_acts_along_the_given_axis():
    s = torch.randn(2, 3, 4)
    torch.testing.assert_close(squash(s, dim=1), squash(s.movedim(1, -1)).movedim(-1, 1))


def test_the_gradient_at_zero_is_finite():
    s = torch.zeros(2, 8, requires_grad=True)
    squash(s).sum().backward()
    assert torch.isfinite(s.grad).all()


def test_the_gradient_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(squash, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))
