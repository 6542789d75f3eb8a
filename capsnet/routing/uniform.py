"""No routing at all: every input capsule counts the same for every output capsule."""

from .dynamic import DynamicRouting
from .inverted import InvertedMatrixRouting


class UniformRouting(DynamicRouting):
    """Output capsules from equal coupling coefficients, 1 / out_caps: the baseline that routings are compared with.

    This is the first iteration of dynamic routing.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        super().__init__(in_caps, in_dim, out_caps, out_dim, iters=1)


class UniformMatrixRouting(InvertedMatrixRouting):
    """Parents from the mean of all votes, with layer normalization: the first pass of inverted dot-product attention.

    Args:
        children: in a parent's window.
        types: of parents.
        dim: numbers of a pose.
    """

    def __init__(self, children: int, types: int, dim: int = 16):
        super().__init__(children, types, dim, iters=1)
