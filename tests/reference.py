"""The capsule layer in float64, written from the paper's text with explicit predictions and explicit sums."""

import torch
from torch import Tensor


def capsules(
    batch: int = 3,
    in_caps: int = 7,
    in_dim: int = 4,
    out_caps: int = 5,
    out_dim: int = 6,
    dtype: torch.dtype = torch.float64,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Random u and weight: input capsules shorter than 1, and output capsules that are neither tiny nor saturated."""
    u = squash(torch.randn(batch, in_caps, in_dim, dtype=torch.float64) * scale)
    weight = torch.randn(out_caps, in_caps, in_dim, out_dim, dtype=torch.float64)
    return u.to(dtype), weight.to(dtype)


def squash(s: Tensor) -> Tensor:
    """Equation 1, with the 0 / 0 at s = 0 replaced by its limit."""
    square = (s * s).sum(-1, keepdim=True)
    length = torch.where(square > 0, square, 1).sqrt()
    return torch.where(square > 0, square / (1 + square) * s / length, 0)


def predictions(u: Tensor, weight: Tensor) -> Tensor:
    """û_j|i, [batch, in_caps, out_caps, out_dim]."""
    return torch.einsum("bid,oide->bioe", u, weight)


def uniform_routing(u: Tensor, weight: Tensor) -> Tensor:
    """Every c_ij is 1 / out_caps. Shapes as in `routing`."""
    return squash((predictions(u, weight) / len(weight)).sum(1))


def routing(u: Tensor, weight: Tensor, iters: int) -> Tensor:
    """Procedure 1. u [batch, in_caps, in_dim], weight [out_caps, in_caps, in_dim, out_dim], both float64."""
    predicted = predictions(u, weight)
    logits = torch.zeros(predicted.shape[:3], dtype=u.dtype)  # b_ij, for each image
    for iteration in range(iters):
        coupling = torch.softmax(logits, dim=2)  # over the output capsules j
        s = torch.einsum("bio,bioe->boe", coupling, predicted)
        v = squash(s)
        if iteration + 1 < iters:
            logits = logits + torch.einsum("bioe,boe->bio", predicted, v)
    return v


def attention_routing(u: Tensor, weight: Tensor, prior: Tensor) -> Tensor:
    """Mazzia et al. 2021, section 3.2, with every vote and every product of two votes. float64.

    u [batch, in_caps, in_dim], weight [out_caps, in_caps, in_dim, out_dim], prior [out_caps, in_caps].
    """
    votes = torch.einsum("bid,oide->boie", u, weight)
    agreement = torch.einsum("boie,boke->boik", votes, votes) / u.shape[2] ** 0.5
    coupling = torch.softmax(agreement.sum(3), dim=1) + prior  # over the output capsules j
    s = torch.einsum("boi,boie->boe", coupling, votes)
    length = (s * s).sum(-1, keepdim=True).sqrt()
    return (1 - torch.exp(-length)) * s / length
