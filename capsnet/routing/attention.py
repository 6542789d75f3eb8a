"""Attention routing (Mazzia, Salvetti & Chiaberge 2021, arXiv:2101.12491): no iterations, but votes that agree."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .squash import steep_squash
from .steps import RoutingStep
from .transformation import TransformationMatrices
from .votes import Votes, VotesGradient, check_shapes, computing_types, in_transform, plain_gradients, votes_of

GAIN = 0.25  # the first class capsules are about 0.2 long: `steep_squash` leaves more of a length than `squash` does
CLASSES_AT_FULL_SCALE = 10
SCALES = {"in_dim": 2, "out_dim": 3}  # axes of W


class AttentionRouting(TransformationMatrices):
    """Output capsules by the agreement of votes, with a learned prior for every pair of capsules.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
        scale: see `attention_routing`.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int, scale: str = "in_dim"):
        # Logits grow with the square of the weights, whose scale grows with the output capsules. Beyond ten of these it
        # stays as it is: a softmax that is saturated from the start learns nothing. Capsules then start shorter, which
        # does no harm, since `steep_squash` passes on the gradient of short ones (measured in benchmarks/RESULTS.md).
        super().__init__(in_caps, in_dim, out_caps, out_dim, GAIN * min(1, CLASSES_AT_FULL_SCALE / out_caps))
        self.prior = nn.Parameter(torch.zeros(out_caps, in_caps))
        self.scale = scale

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], lengths in [0, 1]."""
        return attention_routing(u, self.weight, self.prior, self.scale)

    def steps(self, u: Tensor) -> list[RoutingStep]:
        """The only one, slowly: see `attention_step`."""
        return [attention_step(u, self.weight, self.prior, self.scale)]


def attention_routing(u: Tensor, weight: Tensor, prior: Tensor, scale: str = "in_dim") -> Tensor:
    """Route input capsules to output capsules by self-attention of their votes (Mazzia et al. 2021, section 3.2).

    A vote û_i for output capsule j agrees with all votes by Σ_k û_ij · û_kj / √in_dim. A softmax over j makes this
    coupling coefficients, to which the prior is added.

    Neither the votes nor their products are ever formed: since Σ_k û_ij · û_kj = û_ij · Σ_k û_kj, the logits are the
    agreement of each vote with the sum of all, as in one iteration of dynamic routing. Types are as in
    `dynamic_routing`; what is to be differentiated twice takes `attention_step`.

    Args:
        u: input capsules, [batch, in_caps, in_dim].
        weight: transformation matrices W, [out_caps, in_caps, in_dim, out_dim].
        prior: added to the coupling coefficients after the softmax, [out_caps, in_caps].
        scale: by whose root the agreement is divided: "in_dim", the paper's, or "out_dim", that of its authors' code.

    Returns:
        Output capsules v, [batch, out_caps, out_dim], lengths in [0, 1].

    Raises:
        ValueError: the shapes do not fit each other, or the scale is another word.
    """
    check_shapes(u, weight)
    if prior.shape != weight.shape[:2]:
        raise ValueError(f"prior must be [out_caps, in_caps], {list(weight.shape[:2])}, got {list(prior.shape)}")
    dtype, factor_dtype = computing_types(u, weight)
    with torch.autocast(u.device.type, enabled=False):
        u, weight, prior = u.to(dtype), weight.to(dtype), prior.to(dtype)
        if in_transform():
            return attention_step(u, weight, prior, scale).capsules
        return steep_squash(_AttentionSum.apply(u, weight, prior, scale, factor_dtype))


def attention_step(u: Tensor, weight: Tensor, prior: Tensor, scale: str = "in_dim") -> RoutingStep:
    """`attention_routing` by plain operations, with the votes formed.

    Args:
        u: input capsules, [..., in_caps, in_dim].
        weight, prior, scale: as of `attention_routing`.
    """
    votes = votes_of(u, weight)
    agreement = torch.einsum("...oie,...oe->...oi", votes, votes.sum(-2)) / scale_of(weight, scale)
    coupling = agreement.softmax(-2) + prior
    sums = torch.einsum("...oi,...oie->...oe", coupling, votes)
    return RoutingStep(coupling, sums, steep_squash(sums))


def scale_of(weight: Tensor, scale: str) -> float:
    """What the agreement of votes is divided by; `weight` as in `attention_routing`."""
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: must be one of {', '.join(SCALES)}")
    return math.sqrt(weight.shape[SCALES[scale]])


class _AttentionSum(torch.autograd.Function):
    """Σ_i c_ij û_ij, [b, o, e]. Axes: b image, o output capsule, e its dimension."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, prior: Tensor, scale: str, factor_dtype: torch.dtype) -> Tensor:
        votes = Votes(u, weight, factor_dtype)
        root = scale_of(weight, scale)
        total = votes.total() / root
        ctx.save_for_backward(u, weight, prior, total)
        ctx.factor_dtype, ctx.root, ctx.scale = factor_dtype, root, scale
        return votes.coupled(total, prior).permute(2, 0, 1)

    @staticmethod
    def backward(ctx: Any, s_grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        u, weight, prior, total = ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = u, weight, prior
            return *plain_gradients(lambda *given: attention_step(*given, ctx.scale).sums, inputs, s_grad), None, None
        with torch.autocast(u.device.type, enabled=False):
            gradient = VotesGradient(Votes(u, weight, ctx.factor_dtype))
            total_grad, prior_grad = gradient.add_coupled(total, s_grad.permute(1, 2, 0), prior)
            gradient.add_total(total_grad / ctx.root)
            return gradient.u, gradient.weight, prior_grad, None, None
