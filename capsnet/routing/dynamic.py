"""Dynamic routing: routing by agreement, without ever forming the predictions û."""

from typing import Any

import torch
from torch import Tensor, nn

from .squash import squash, squash_backward
from .steps import RoutingStep
from .transformation import TransformationMatrices
from .votes import (
    Votes,
    VotesGradient,
    check_iters,
    check_shapes,
    computing_types,
    in_transform,
    plain_gradients,
    votes_of,
)

AUTHORS_BIAS = 0.1  # with which the paper's authors begin


class DynamicRouting(TransformationMatrices):
    """Output capsules by routing by agreement.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
        iters: routing iterations, at least 1.
        bias: learn a bias of the output capsules, as the paper's authors do.
        leaky: see `dynamic_routing`.
    """

    def __init__(
        self,
        in_caps: int,
        in_dim: int,
        out_caps: int,
        out_dim: int,
        iters: int = 3,
        bias: bool = False,
        leaky: bool = False,
    ):
        super().__init__(in_caps, in_dim, out_caps, out_dim)
        check_iters(iters)
        self.iters, self.leaky = iters, leaky
        self.bias = nn.Parameter(torch.full((out_caps, out_dim), AUTHORS_BIAS)) if bias else None

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], lengths in [0, 1)."""
        return dynamic_routing(u, self.weight, self.iters, self.bias, self.leaky)

    def steps(self, u: Tensor) -> list[RoutingStep]:
        """The iterations, slowly: see `dynamic_steps`."""
        return dynamic_steps(u, self.weight, self.iters, self.bias, self.leaky)


def dynamic_routing(
    u: Tensor, weight: Tensor, iters: int = 3, bias: Tensor | None = None, leaky: bool = False
) -> Tensor:
    """Route input capsules to output capsules by agreement (Sabour et al. 2017, procedure 1).

    The predictions û_ij = W_ij u_i are never formed. The weighted sums s_j = Σ_i c_ij û_ij are one matrix product
    of (c ∘ u) with W, and the agreement û_ij · v_j is (W_ij v_j) · u_i. Since every iteration adds its agreement to
    the logits, and û does not change, the logits are û_ij · (v_j summed over the iterations so far). The backward
    pass keeps nothing but u, W and the s_j of each iteration, and computes the rest again. Both passes go over the
    input capsules in chunks that fit the processor's cache. Gradients that are to be differentiated again, and the
    transforms of `torch.func`, take `dynamic_steps`.

    Computes in float32 at least. Under bfloat16 autocast, what is multiplied with u and W is bfloat16; logits, coupling
    coefficients, sums and capsules stay float32. Gradients run through every iteration.

    Args:
        u: input capsules, [batch, in_caps, in_dim].
        weight: transformation matrices W, [out_caps, in_caps, in_dim, out_dim].
        iters: number of routing iterations, at least 1; with 1, all coupling coefficients are 1 / out_caps.
        bias: added to the weighted sums s_j before each squash, [out_caps, out_dim], as in the authors' code; the
            paper's equations have none.
        leaky: the softmax has one more logit, always 0, whose share goes to no output capsule. The authors use it for
            images with a background.

    Returns:
        Output capsules v, [batch, out_caps, out_dim], lengths in [0, 1).

    Raises:
        ValueError: `iters` is below 1, or the shapes do not fit each other.
    """
    check_iters(iters)
    check_shapes(u, weight)
    dtype, factor_dtype = computing_types(u, weight)
    with torch.autocast(u.device.type, enabled=False):
        u, weight, bias = u.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        if in_transform():
            return dynamic_steps(u, weight, iters, bias, leaky)[-1].capsules
        return _DynamicRouting.apply(u, weight, bias, iters, leaky, factor_dtype)


def dynamic_steps(
    u: Tensor, weight: Tensor, iters: int = 3, bias: Tensor | None = None, leaky: bool = False
) -> list[RoutingStep]:
    """The iterations of `dynamic_routing` by plain operations, as procedure 1 says them, with the votes formed.

    Args:
        u: input capsules, [..., in_caps, in_dim].
        weight, iters, bias, leaky: as of `dynamic_routing`.
    """
    votes, steps = votes_of(u, weight), []
    logits = votes.new_zeros(votes.shape[:-1])
    for _ in range(iters):
        rivals = [logits, torch.zeros_like(logits[..., :1, :])] if leaky else [logits]
        coupling = torch.cat(rivals, -2).softmax(-2)[..., : len(weight), :]
        sums = torch.einsum("...oi,...oie->...oe", coupling, votes) + (0 if bias is None else bias)
        steps.append(RoutingStep(coupling, sums, squash(sums)))
        logits = logits + torch.einsum("...oie,...oe->...oi", votes, steps[-1].capsules)
    return steps


class _DynamicRouting(torch.autograd.Function):
    """Axes: b image, o output capsule, e its dimension."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        iters: int,
        leaky: bool,
        factor_dtype: torch.dtype,
    ) -> Tensor:
        votes = Votes(u, weight, factor_dtype, leaky)
        added = 0 if bias is None else bias.unsqueeze(2)
        parents = votes.out_caps + leaky  # with b = 0, each has the same share of an input capsule
        sums = [votes.total() / parents + added]
        v_sum = v = squash(sums[0], dim=1)
        for _ in range(iters - 1):
            sums.append(votes.coupled(v_sum) + added)
            v = squash(sums[-1], dim=1)
            v_sum = v_sum + v
        ctx.save_for_backward(u, weight, bias, *sums)
        ctx.factor_dtype, ctx.leaky = factor_dtype, leaky
        return v.permute(2, 0, 1)

    @staticmethod
    def backward(ctx: Any, v_grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        u, weight, bias, *sums = ctx.saved_tensors
        if torch.is_grad_enabled():

            def plain(u: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
                return dynamic_steps(u, weight, len(sums), bias, ctx.leaky)[-1].capsules

            return *plain_gradients(plain, (u, weight, bias), v_grad), None, None, None
        with torch.autocast(u.device.type, enabled=False):
            votes = Votes(u, weight, ctx.factor_dtype, ctx.leaky)
            gradient = VotesGradient(votes)
            capsules = [squash(s, dim=1) for s in sums]
            from_above = v_grad.permute(1, 2, 0)
            later = torch.zeros_like(sums[0])  # gradient at this iteration's v from the logits of later iterations
            bias_grad = None if bias is None else torch.zeros_like(bias)
            for iteration in range(len(sums) - 1, 0, -1):
                s_grad = squash_backward(sums[iteration], from_above if iteration == len(sums) - 1 else later, dim=1)
                if bias_grad is not None:
                    bias_grad += s_grad.sum(2)
                v_sum = torch.stack(capsules[:iteration]).sum(0)
                later = later + gradient.add_coupled(v_sum, s_grad)[0]
            s_grad = squash_backward(sums[0], from_above if len(sums) == 1 else later, dim=1)
            if bias_grad is not None:
                bias_grad += s_grad.sum(2)
            gradient.add_total(s_grad / (votes.out_caps + ctx.leaky))
            return gradient.u, gradient.weight, bias_grad, None, None, None
