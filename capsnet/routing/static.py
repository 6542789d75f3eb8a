"""Learned couplings that do not depend on the image: the control for what routing itself adds."""

import torch
from torch import Tensor, nn

from .dynamic import dynamic_routing
from .squash import squash
from .steps import RoutingStep
from .transformation import TransformationMatrices
from .votes import votes_of


class StaticRouting(TransformationMatrices):
    """Output capsules from couplings that are the same for all images: a softmax of learned logits.

    The logits start at 0, as those of dynamic routing, so that all couplings are 1 / out_caps.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        super().__init__(in_caps, in_dim, out_caps, out_dim)
        self.logits = nn.Parameter(torch.zeros(out_caps, in_caps))

    @property
    def coupling(self) -> Tensor:
        """What each vote is multiplied with, [out_caps, in_caps]; sums to 1 over the output capsules."""
        return self.logits.softmax(dim=0)

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], lengths in [0, 1)."""
        weight = self.weight * (self.coupling * len(self.weight))[..., None, None]
        return dynamic_routing(u, weight, iters=1)  # which multiplies each vote with 1 / out_caps

    def steps(self, u: Tensor) -> list[RoutingStep]:
        """The only one, u [..., in_caps, in_dim]."""
        sums = torch.einsum("oi,...oie->...oe", self.coupling, votes_of(u, self.weight))
        return [RoutingStep(self.coupling, sums, squash(sums))]
