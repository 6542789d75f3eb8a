"""The routings that ours is measured against, with its signature: written here, after what public CapsNets do.

`uniform` is no baseline but the floor: no routing at all, every coupling coefficient 1 / out_caps.
"""

import torch
from torch import Tensor

from capsnet import dynamic_routing, squash


def uniform(u: Tensor, weight: Tensor, iters: int) -> Tensor:
    """The network without routing."""
    return dynamic_routing(u, weight, 1)


def einsum_predictions(u: Tensor, weight: Tensor, iters: int) -> Tensor:
    """Explicit predictions [batch, out, in, dim] by one einsum, then sums over them: the best public approach."""
    with torch.autocast(u.device.type, enabled=False):
        predictions = torch.einsum("bid,oide->boie", u, weight)
        logits = predictions.new_zeros(predictions.shape[:3])
        for iteration in range(iters):
            coupling = logits.softmax(dim=1)
            v = squash(torch.einsum("boi,boie->boe", coupling, predictions))
            if iteration + 1 < iters:
                logits = logits + torch.einsum("boie,boe->boi", predictions, v)
        return v


def broadcast_predictions(u: Tensor, weight: Tensor, iters: int) -> Tensor:
    """Explicit predictions by a broadcast matrix product, then products of expanded arrays: the most copied one."""
    with torch.autocast(u.device.type, enabled=False):
        predictions = torch.matmul(u[:, None, :, None, :], weight).squeeze(3)  # [batch, out, in, dim]
        logits = predictions.new_zeros(*predictions.shape[:3], 1)
        for iteration in range(iters):
            coupling = logits.softmax(dim=1)
            v = squash((coupling * predictions).sum(dim=2, keepdim=True))
            if iteration + 1 < iters:
                logits = logits + (predictions * v).sum(dim=-1, keepdim=True)
        return v.squeeze(2)


BASELINES = {"uniform": uniform, "einsum": einsum_predictions, "broadcast": broadcast_predictions}
