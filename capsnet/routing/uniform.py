"""No routing at all: every input capsule counts the same for every output capsule."""

from torch import Tensor

from .dynamic import dynamic_routing
from .transformation import TransformationMatrices


class UniformRouting(TransformationMatrices):
    """Output capsules from equal coupling coefficients, 1 / out_caps: the baseline that routings are compared with.

    This is what the first iteration of dynamic routing computes.
    """

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], lengths in [0, 1)."""
        return dynamic_routing(u, self.weight, iters=1)
