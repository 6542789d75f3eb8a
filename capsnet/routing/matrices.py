"""What a routing of capsules with a pose and an activation is given, and what it gives."""

from typing import NamedTuple

from torch import Tensor, nn

from .windows import Windows


class LayerVotes(NamedTuple):
    """What the children of a layer say to its parents.

    Axes: position of a parent on its map, row by row; type of a parent; child in the parent's window, see `Windows`.
    """

    votes: Tensor
    """The pose that each child predicts for each parent, [batch, positions, types, dim, children]."""
    activations: Tensor
    """Of the children, [batch, positions, children], in [0, 1]."""
    poses: Tensor
    """Of the children, [batch, positions, children, child_dim]."""
    windows: Windows | None = None
    """Which child of the map each one is; None: each votes for parents at one position only."""


class Routed(NamedTuple):
    """The parents."""

    poses: Tensor
    """[batch, positions, types, dim]."""
    activations: Tensor
    """[batch, positions, types]."""
    coupling: Tensor | None = None
    """What each vote counted in the last iteration, [batch, positions, types, children]; only the explorer shows it.
    None: it shows nothing."""


class MatrixRouting(nn.Module):
    """A routing of matrices. A subclass computes `forward`, which images go through in groups of any size."""

    uses_activations = True
    """Capsules have activations of their own. Without, those of all children are 1, and the network makes the
    activations of its class capsules from their poses."""
    iters = 1
    """Iterations that `forward` does unless it is asked for fewer."""
    passes = 1
    """How often the network goes through all its layers. With more than one, `forward` is called for one iteration at a
    time, from the second pass on with a third argument: the poses that its parents had in the pass before, as in
    `Routed`."""

    vote_size = 1.0
    """How large votes are at first, if poses have size 1. It decides the first weights of a layer's matrices."""

    def adjust(self, votes: LayerVotes) -> None:
        """Choose first weights that suit random votes, when the network is built."""

    def forward(self, votes: LayerVotes, iters: int | None = None) -> Routed:
        """Parents of some images.

        Args:
            votes: of their children.
            iters: iterations; None: `self.iters`.
        """
        raise NotImplementedError

    def finish(self, poses: Tensor, activations: Tensor) -> tuple[Tensor, Tensor]:
        """What follows for the whole batch at once, such as batch normalization; shapes as in `Routed`."""
        return poses, activations
