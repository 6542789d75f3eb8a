"""The capsule layer in float64, written from the paper's text with explicit predictions and explicit sums."""

import torch
from torch import Tensor


def squash(s: Tensor) -> Tensor:
    """Equation 1, with the 0 / 0 at s = 0 replaced by its limit."""
    square = (s * s).sum(-1, keepdim=True)
    length = torch.where(square > 0, square, 1).sqrt()
    return torch.where(square > 0, square / (1 + square) * s / length, 0)


def routing(u: Tensor, weight: Tensor, iters: int) -> Tensor:
    """Procedure 1. u [batch, in_caps, in_dim], weight [out_caps, in_caps, in_dim, out_dim], both float64."""
    predictions = torch.einsum("bid,oide->bioe", u, weight)  # û_j|i
    logits = torch.zeros(predictions.shape[:3], dtype=u.dtype)  # b_ij, for each image
    for iteration in range(iters):
        coupling = torch.softmax(logits, dim=2)  # over the output capsules j
        s = torch.einsum("bio,bioe->boe", coupling, predictions)
        v = squash(s)
        if iteration + 1 < iters:
            logits = logits + torch.einsum("bioe,boe->bio", predictions, v)
    return v
