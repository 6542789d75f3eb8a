"""No routing at all: every input capsule counts the same for every output capsule."""

from torch import Tensor

from .dynamic import dynamic_routing
from .inverted import InvertedMatrixRouting
from .transformation import TransformationMatrices


class UniformRouting(TransformationMatrices):
    """Output capsules from equal coupling coefficients, 1 / out_caps: the baseline that routings are compared with.

    This is what the first iteration of dynamic routing computes.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        super().__init__(in_caps, in_dim, out_caps, out_dim)

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], lengths in [0, 1)."""
        return dynamic_routing(u, self.weight, iters=1)


class UniformMatrixRouting(InvertedMatrixRouting):
    """Parents from the mean of all votes, with layer normalization: the first pass of inverted dot-product attention.

    Args:
        children: in a parent's window.
        types: of parents.
        dim: numbers of a pose.
    """

    def __init__(self, children: int, types: int, dim: int = 16):
        super().__init__(children, types, dim, iters=1)
