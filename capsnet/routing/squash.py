"""The nonlinearity of capsules: it turns a vector's length into a probability."""

import torch
from torch import Tensor


def squash(s: Tensor, dim: int = -1) -> Tensor:
    """Shrink vectors to length |s|^2 / (1 + |s|^2), keeping their direction (Sabour et al. 2017, eq. 1).

    Args:
        s: vectors along `dim`, any shape.

    Returns:
        Same shape as `s`, in float32 at least; lengths in [0, 1). The gradient is finite at s = 0.
    """
    s = s.to(torch.promote_types(s.dtype, torch.float32))  # squares and roots need the precision
    length = torch.linalg.vector_norm(s, dim=dim, keepdim=True)
    return s * (length / (1 + length.square()))


def squash_backward(s: Tensor, v_grad: Tensor, dim: int) -> Tensor:
    """Gradient at s of v = s f(|s|) with f(x) = x / (1 + x²): f v_grad + s (s · v_grad) f' / |s|.

    Args:
        s: what was squashed along `dim`, any shape.
        v_grad: gradient at v, the same shape.
    """
    length = torch.linalg.vector_norm(s, dim=dim, keepdim=True)
    square = length.square()
    slope = (1 - square) / (1 + square).square()
    towards = (s * v_grad).sum(dim, keepdim=True) / length.clamp(min=torch.finfo(s.dtype).tiny)
    return length / (1 + square) * v_grad + s * (slope * towards)


def steep_squash(s: Tensor, dim: int = -1) -> Tensor:
    """Shrink vectors to length 1 - exp(-|s|), keeping their direction (Mazzia et al. 2021, eq. 6).

    It is steeper than `squash` for short vectors, so that they get a larger gradient.

    Args:
        s: vectors along `dim`, any shape.

    Returns:
        Same shape as `s`, in float32 at least; lengths in [0, 1]. The gradient is finite at s = 0.
    """
    s = s.to(torch.promote_types(s.dtype, torch.float32))
    length = torch.linalg.vector_norm(s, dim=dim, keepdim=True)
    known = length > 0
    factor = -torch.expm1(-length) / torch.where(known, length, 1)
    return s * torch.where(known, factor, 1)
