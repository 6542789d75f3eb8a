"""Sums over votes that are formed, and over their squares, for routings that see parents as clusters.

A clustering needs, in every iteration, Σ_n w_n V_n and Σ_n w_n V_n² over the children, and Σ_d p_d (V_dn - m_d)² over
the numbers of a pose. All are products of one matrix with a vector: of F = [V, V²], which is made once. The gradient at
F is then a sum of outer products, one for each such product. They are collected and multiplied out once, at the end of
the backward pass, so an iteration never makes an array as large as the votes.

Squares are about a centre near the votes, since Σ w V² - (Σ w V)² would cancel far from 0.
"""

from typing import Any

import torch
from torch import Tensor

from .votes import in_transform


class VoteSums:
    """Sums over votes.

    Args:
        votes: [..., dim, children].
        products: how many calls of `moments` and `distances` there will be, at most.
    """

    def __init__(self, votes: Tensor, products: int):
        self.centre = votes.detach().mean(-1)
        """[..., dim]."""
        self._plain = in_transform()
        if self._plain:
            differences = (votes - self.centre.unsqueeze(-1)).transpose(-1, -2)
            self._features = torch.cat([differences, differences.square()], -1)
        else:
            self._features, *self._slots = _Features.apply(votes, self.centre, products)

    def moments(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_n w_n V_n and Σ_n w_n V_n², of votes about the centre.

        Args:
            weights: [..., children].

        Returns:
            Both [..., dim].
        """
        if self._plain:
            both = row_times(weights, self._features)
        else:
            both = _OverChildren.apply(weights, self._features, self._slots.pop())
        first, second = both.chunk(2, -1)
        return first, second

    def distances(self, mean: Tensor, precision: Tensor) -> Tensor:
        """Σ_d precision_d (V_dn - mean_d)², [..., children].

        Args:
            mean: about the centre, [..., dim].
            precision: [..., dim].
        """
        coefficients = torch.cat([-2 * precision * mean, precision], -1)
        constant = (precision * mean.square()).sum(-1, keepdim=True)
        if self._plain:
            return row_times(coefficients, self._features.transpose(-1, -2)) + constant
        return _OverDimensions.apply(coefficients, self._features, self._slots.pop()) + constant


class _Features(torch.autograd.Function):
    """F [..., children, 2 dim], and a slot for each product with it.

    A slot is a scalar that stands for F in one product. What comes back through it is that product's share of the
    gradient, as the two factors of an outer product, joined: [..., children + 2 dim].
    """

    @staticmethod
    def forward(ctx: Any, votes: Tensor, centre: Tensor, products: int) -> tuple[Tensor, ...]:
        dim, children = votes.shape[-2:]
        features = votes.new_empty(*votes.shape[:-2], children, 2 * dim)
        differences, squares = features.chunk(2, -1)
        torch.sub(votes.transpose(-1, -2), centre.unsqueeze(-2), out=differences)
        torch.square(differences, out=squares)
        size = features.shape[-2] + features.shape[-1]
        slots = tuple(votes.new_zeros(()).expand(*votes.shape[:-2], size) for _ in range(products))
        ctx.save_for_backward(features)
        ctx.mark_non_differentiable(features)
        ctx.set_materialize_grads(False)
        return features, *slots

    @staticmethod
    def backward(ctx: Any, _: None, *factors: Tensor | None) -> tuple[Tensor | None, None, None]:
        _refuse_second_derivatives()
        (features,) = ctx.saved_tensors
        known = [both for both in factors if both is not None]
        if not known:
            return None, None, None
        of_children, of_dimensions = torch.stack(known, -2).split(features.shape[-2:], -1)
        of_votes, of_squares = (of_children.transpose(-1, -2) @ of_dimensions).chunk(2, -1)
        of_votes = torch.addcmul(of_votes, of_squares, features.chunk(2, -1)[0], value=2)
        return of_votes.transpose(-1, -2), None, None


class _OverChildren(torch.autograd.Function):
    """w F, [..., 2 dim], for weights w [..., children]."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, features: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(weights, features)
        return row_times(weights, features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        _refuse_second_derivatives()
        weights, features = ctx.saved_tensors
        return row_times(gradient, features.transpose(-1, -2)), None, torch.cat([weights, gradient], -1)


class _OverDimensions(torch.autograd.Function):
    """F c, [..., children], for coefficients c [..., 2 dim]."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, features: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(coefficients, features)
        return row_times(coefficients, features.transpose(-1, -2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        _refuse_second_derivatives()
        coefficients, features = ctx.saved_tensors
        return row_times(gradient, features), None, torch.cat([gradient, coefficients], -1)


def _refuse_second_derivatives() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("create_graph=True: this routing cannot do that; torch.func.hessian, or grad of grad, can")


def over_children(votes: Tensor, weights: Tensor) -> Tensor:
    """Σ_n weights_n votes_n: votes [..., dim, children], weights [..., children] -> [..., dim]."""
    return row_times(weights, votes.transpose(-1, -2))


def row_times(row: Tensor, matrix: Tensor) -> Tensor:
    """[..., m] times [..., m, n] -> [..., n].

    With the vector on the other side of a transposed matrix, the product takes eight times as long on a CPU.
    """
    return (row.unsqueeze(-2) @ matrix).squeeze(-2)
