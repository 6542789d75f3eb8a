"""Routing slowly, with the votes formed, to see what each iteration does. For single images, not for training."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import AttentionRouting, scale_of
from .dynamic import DynamicRouting
from .inverted import InvertedRouting
from .squash import squash, steep_squash
from .static import StaticRouting
from .uniform import UniformRouting


class RoutingStep(NamedTuple):
    """One iteration of routing."""

    coupling: Tensor
    """What each vote is multiplied with, [out_caps, in_caps]."""
    sums: Tensor
    """The sum of the coupled votes, [out_caps, out_dim]."""
    capsules: Tensor
    """The output capsules that this makes, [out_caps, out_dim]."""


def votes_of(routing: nn.Module, u: Tensor) -> Tensor:
    """The votes û [out_caps, in_caps, out_dim] of one image's input capsules u [in_caps, in_dim]."""
    return torch.einsum("id,oide->oie", u, routing.weight)


def routing_steps(routing: nn.Module, u: Tensor) -> list[RoutingStep] | None:
    """The iterations of a routing on one image; the last one's capsules are what `routing` itself gives.

    Args:
        routing: one of this project's.
        u: input capsules, [in_caps, in_dim].

    Returns:
        A step for each iteration; None for a routing whose coupling is not known here.
    """
    if isinstance(routing, DynamicRouting):
        return _dynamic_steps(votes_of(routing, u), routing.iters, routing.bias, routing.leaky)
    if isinstance(routing, UniformRouting):
        return _dynamic_steps(votes_of(routing, u), iters=1)
    if isinstance(routing, StaticRouting):
        sums = torch.einsum("oi,oie->oe", routing.coupling, votes_of(routing, u))
        return [RoutingStep(routing.coupling, sums, squash(sums))]
    if isinstance(routing, AttentionRouting):
        return [_attention_step(votes_of(routing, u), routing.prior, scale_of(routing.weight, routing.scale))]
    if isinstance(routing, InvertedRouting):
        return _inverted_steps(votes_of(routing, u), routing)
    return None


def _dynamic_steps(votes: Tensor, iters: int, bias: Tensor | None = None, leaky: bool = False) -> list[RoutingStep]:
    """Procedure 1 of Sabour et al. 2017."""
    logits, steps = torch.zeros(len(votes) + leaky, votes.shape[1], device=votes.device), []
    for _ in range(iters):
        coupling = logits.softmax(dim=0)[: len(votes)]
        sums = torch.einsum("oi,oie->oe", coupling, votes) + (0 if bias is None else bias)
        steps.append(RoutingStep(coupling, sums, squash(sums)))
        logits[: len(votes)] += torch.einsum("oie,oe->oi", votes, steps[-1].capsules)
    return steps


def _attention_step(votes: Tensor, prior: Tensor, scale: float) -> RoutingStep:
    """Section 3.2 of Mazzia et al. 2021."""
    agreement = torch.einsum("oie,oe->oi", votes, votes.sum(1)) / scale
    coupling = agreement.softmax(dim=0) + prior
    sums = torch.einsum("oi,oie->oe", coupling, votes)
    return RoutingStep(coupling, sums, steep_squash(sums))


def _inverted_steps(votes: Tensor, routing: InvertedRouting) -> list[RoutingStep]:
    """Tsai et al. 2020."""
    logits, steps = torch.zeros(votes.shape[:2], device=votes.device), []
    for _ in range(routing.iters):
        coupling = logits.softmax(dim=0)
        sums = torch.einsum("oi,oie->oe", coupling, votes)
        poses = F.layer_norm(sums, sums.shape[1:], routing.norm.weight, routing.norm.bias)
        steps.append(RoutingStep(coupling, sums, routing.as_capsules(poses)))
        logits = torch.einsum("oie,oe->oi", votes, poses) / math.sqrt(sums.shape[1])
    return steps
