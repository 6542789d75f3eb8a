"""An iteration of routing by plain operations, with the votes formed: to look at, or to be differentiated twice."""

from typing import NamedTuple

from torch import Tensor


class RoutingStep(NamedTuple):
    """What one iteration does. A routing with a method `steps(u)`, [in_caps, in_dim] -> a list of these, is shown."""

    coupling: Tensor
    """What each vote is multiplied with, [..., out_caps, in_caps]."""
    sums: Tensor
    """The sum of the coupled votes, [..., out_caps, out_dim]."""
    capsules: Tensor
    """The output capsules that this makes, [..., out_caps, out_dim]."""
