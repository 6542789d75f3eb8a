"""Routings of public CapsNets, which form the predictions û = W u explicitly. Ours is measured against them.

The file is a plugin, so you can also train with them:

    python train.py plugin=benchmarks/baselines.py routing=einsum
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from capsnet import setting, squash
from capsnet.routing.transformation import TransformationMatrices
from capsnet.settings.routing import Dynamic


class ExplicitRouting(TransformationMatrices):
    """Dynamic routing that forms the predictions; `forward` is [batch, in_caps, in_dim] -> [batch, out_caps, out_dim].

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
        iters: routing iterations, at least 1.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int, iters: int):
        super().__init__(in_caps, in_dim, out_caps, out_dim)
        self.iters = iters


class EinsumRouting(ExplicitRouting):
    """Dynamic routing with sums over the predictions, written as einsums."""

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], computed in float32."""
        with torch.autocast(u.device.type, enabled=False):
            predictions = torch.einsum("bid,oide->boie", u, self.weight)
            logits = predictions.new_zeros(predictions.shape[:3])
            for iteration in range(self.iters):
                coupling = logits.softmax(dim=1)
                v = squash(torch.einsum("boi,boie->boe", coupling, predictions))
                if iteration + 1 < self.iters:
                    logits = logits + torch.einsum("boie,boe->boi", predictions, v)
            return v


class MatmulRouting(ExplicitRouting):
    """Dynamic routing as XifengGuo/CapsNet-Pytorch builds it: one matrix product for each image and pair of capsules,
    and no gradient through the coupling coefficients.
    """

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], computed in float32."""
        with torch.autocast(u.device.type, enabled=False):
            predictions = torch.matmul(self.weight.mT, u[:, None, :, :, None]).squeeze(-1)  # [batch, out, in, dim]
            fixed = predictions.detach()
            logits = predictions.new_zeros(predictions.shape[:3])
            for iteration in range(self.iters):
                coupling = logits.softmax(dim=1).unsqueeze(-1)
                last = iteration + 1 == self.iters
                v = squash((coupling * (predictions if last else fixed)).sum(dim=2, keepdim=True))
                if not last:
                    logits = logits + (fixed * v).sum(dim=-1)
            return v.squeeze(2)


class PriorsRouting(ExplicitRouting):
    """Dynamic routing as gram-ai/capsule-networks builds it: a matrix product for each image and pair of capsules, with
    the classes first, and logits of the predictions' size, whose softmax is over the input capsules.
    """

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], computed in float32."""
        with torch.autocast(u.device.type, enabled=False):
            predictions = u[None, :, :, None, :] @ self.weight[:, None]  # [out, batch, in, 1, dim]
            logits = torch.zeros_like(predictions)
            for iteration in range(self.iters):
                v = squash((logits.softmax(dim=2) * predictions).sum(dim=2, keepdim=True))
                if iteration + 1 < self.iters:
                    logits = logits + (predictions * v).sum(dim=-1, keepdim=True)
            return v[:, :, 0, 0].transpose(0, 1)


@dataclass
class Explicit:
    """The settings of all of them."""

    routing: ClassVar[type[ExplicitRouting]]
    iters: int = setting(Dynamic.iters, "routing iterations", at_least=1)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> ExplicitRouting:
        return self.routing(in_caps, in_dim, out_caps, out_dim, self.iters)


class Einsum(Explicit):
    """Explicit predictions by one einsum: the best public approach."""

    routing = EinsumRouting


class Matmul(Explicit):
    """The structure of XifengGuo/CapsNet-Pytorch."""

    routing = MatmulRouting


class Priors(Explicit):
    """The structure of gram-ai/capsule-networks."""

    routing = PriorsRouting


OPTIONS = {"routing": {"einsum": Einsum, "matmul": Matmul, "priors": Priors}}
