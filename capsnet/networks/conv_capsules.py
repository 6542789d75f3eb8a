"""Convolutional layers of capsules with a pose and an activation, in which the routing is a parameter."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..routing.matrices import LayerVotes, MatrixRouting, Routed
from ..routing.votes import GPU_CHUNK_BYTES, in_transform
from ..routing.windows import Windows

CPU_CHUNK_BYTES = 1 << 24  # votes that are formed at once: they stay in the shared cache of a processor
SIDE = 4  # rows and columns of a pose
POSE = SIDE * SIDE
COORDINATES = (SIDE - 1, 2 * SIDE - 1)
"""Numbers of a flattened pose to which a child's row and column are added: the first two of the right column."""
RANDOM_IMAGES = 2  # by whose capsules first weights are adjusted


class Capsules(NamedTuple):
    """A layer of capsules."""

    poses: Tensor
    """[batch, types, rows, columns, 4, 4]."""
    activations: Tensor
    """[batch, types, rows, columns], in [0, 1]."""


class ConvCapsules(nn.Module):
    """Capsules whose parents look at windows of a map of children.

    The vote of a child with pose M for a parent is M W, both [4, 4]. Parents of all types and positions that a child
    votes for compete for it, as far as the routing lets them. Votes are formed for a few images at a time, as many as
    fit the processor's cache, and once more in the backward pass, so the memory that they take does not grow with the
    batch.

    Args:
        in_types, out_types: types of children and of parents.
        size: rows and columns of the map of children, or one number for both.
        kernel: rows and columns of a window, or one number for both.
        stride: from one window to the next.
        padding: rows and columns of children with activation 0 around the map.
        routing: makes the routing: called with the number of children in a window, of types of parents and of numbers
            in a pose; or an option of `capsnet.settings.routing`.
        shared: the matrices W are the same at all places of a window.
        coordinates: add a child's place in the window to its votes, as in class capsules: (row + 1) / (10 rows) and
            (column + 1) / (10 columns), to the first two numbers of the right column.
    """

    def __init__(
        self,
        in_types: int,
        out_types: int,
        size: int | Sequence[int],
        kernel: int | Sequence[int],
        stride: int = 1,
        padding: int = 0,
        routing: Any = None,
        shared: bool = False,
        coordinates: bool = False,
    ):
        super().__init__()
        rows, columns = (size, size) if isinstance(size, int) else size
        self.in_types, self.out_types, self.padding, self.shared = in_types, out_types, padding, shared
        self.windows = Windows((rows + 2 * padding, columns + 2 * padding), kernel, stride)
        children = in_types * self.windows.places
        build: Callable[..., MatrixRouting] = getattr(routing, "build_matrices", routing)
        self.routing = build(children, out_types, POSE)
        places = () if shared else self.windows.kernel
        self.weight = nn.Parameter(torch.empty(out_types, in_types, *places, SIDE, SIDE))
        nn.init.normal_(self.weight, std=self.routing.vote_size / math.sqrt(SIDE))
        self.register_buffer("coordinates", self._coordinates() if coordinates else None, persistent=False)

    def _coordinates(self) -> Tensor:
        """What is added to the votes, [4 * 4, children]."""
        rows, columns = self.windows.kernel
        added = torch.zeros(POSE, rows, columns, dtype=torch.float64)
        added[COORDINATES[0]] = ((torch.arange(rows, dtype=torch.float64) + 1) / (10 * rows))[:, None]
        added[COORDINATES[1]] = (torch.arange(columns, dtype=torch.float64) + 1) / (10 * columns)
        return added.flatten(1).repeat(1, self.in_types)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of parents."""
        return self.windows.grid

    def forward(self, children: Capsules, before: Capsules | None = None) -> Capsules:
        """The parents of a map of children.

        Args:
            children: [batch, in_types, rows, columns, ...].
            before: parents of an earlier pass, of a routing whose passes go through the whole network in turn.
        """
        seen = self.seen(children)
        images = seen.poses.shape[0]  # len() would fix the number of images in what is exported
        count = images if torch.compiler.is_exporting() else self.images_at_once(seen.poses)
        if count >= images:
            poses, activations = self._route(seen.poses, seen.activations, self.flat(before))
        else:
            groups = (part.split(count) for part in (seen.poses, seen.activations))
            of_before = [None] * -(-images // count) if before is None else self.flat(before).split(count)
            parts = [self._again_in_backward(*group) for group in zip(*groups, of_before, strict=True)]
            poses, activations = (torch.cat(part) for part in zip(*parts, strict=True))
        return self.as_map(*self.routing.finish(poses, activations))

    def images_at_once(self, poses: Tensor) -> int:
        """Images whose votes fit the cache, or are enough to keep a GPU busy."""
        most = CPU_CHUNK_BYTES if poses.device.type == "cpu" else GPU_CHUNK_BYTES
        return max(1, most // (self.out_types * poses.shape[1:].numel() * poses.element_size()))

    def seen(self, children: Capsules) -> LayerVotes:
        """What the windows see of a map; its votes are not formed yet, they are the poses."""
        poses, activations = children.poses.flatten(4), children.activations
        if self.padding:
            around = (self.padding,) * 4
            poses, activations = F.pad(poses, (0, 0, *around)), F.pad(activations, around)
        poses = self.windows.of(poses)
        return LayerVotes(poses, self.windows.of(activations), poses, self.windows)

    def votes(self, poses: Tensor) -> Tensor:
        """Poses of children [batch, positions, children, 16] -> votes [batch, positions, types, 16, children]."""
        weight = self.weight
        if self.shared:
            weight = weight[:, :, None].expand(-1, -1, self.windows.places, -1, -1)
        dtype = torch.promote_types(torch.promote_types(poses.dtype, weight.dtype), torch.float32)
        images, positions, children, _ = poses.shape
        # One product for each child: [images * positions * rows of the pose, 4] by [4, types * columns of the pose].
        weight = weight.to(dtype).reshape(self.out_types, children, SIDE, SIDE).permute(1, 2, 0, 3).flatten(2)
        rows = poses.to(dtype).unflatten(3, (SIDE, SIDE)).permute(2, 0, 1, 3, 4).flatten(1, 3)
        votes = torch.bmm(rows, weight).view(children, images, positions, SIDE, self.out_types, SIDE)
        votes = votes.permute(1, 2, 4, 0, 3, 5).flatten(4)  # in memory, the numbers of a vote stand together
        if self.coordinates is not None:
            votes = votes + self.coordinates.to(dtype).t()
        return votes.transpose(3, 4)

    def layer_votes(self, children: Capsules) -> LayerVotes:
        """All that the routing is given, for all images at once: to look at, not for training."""
        seen = self.seen(children)
        return seen._replace(votes=self.votes(seen.poses))

    def finished(self, routed: Routed) -> Routed:
        """What the routing gave for the whole batch, with what follows it."""
        poses, activations = self.routing.finish(routed.poses, routed.activations)
        return Routed(poses, activations, routed.coupling)

    def as_map(self, poses: Tensor, activations: Tensor) -> Capsules:
        """Parents as routings give them, [batch, positions, types, ...], as a layer of capsules."""
        rows, columns = self.grid
        return Capsules(
            poses.transpose(1, 2).unflatten(3, (SIDE, SIDE)).unflatten(2, (rows, columns)),
            activations.transpose(1, 2).unflatten(2, (rows, columns)),
        )

    def _route(self, poses: Tensor, activations: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.autocast(poses.device.type, enabled=False):
            votes = LayerVotes(self.votes(poses), activations, poses, self.windows)
            routed = self.routing(votes) if self.routing.passes == 1 else self.routing(votes, 1, before)
        return routed.poses, routed.activations

    def _again_in_backward(self, *group: Tensor | None) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled() or in_transform():
            return self._route(*group)
        return checkpoint(self._route, *group, use_reentrant=False, preserve_rng_state=False)

    def flat(self, parents: Capsules | None) -> Tensor | None:
        """Poses of parents as routings have them, [batch, positions, types, 16]."""
        return None if parents is None else parents.poses.flatten(4).flatten(2, 3).transpose(1, 2)


@torch.no_grad()
def adjust_layers(layers: Sequence[ConvCapsules]) -> None:
    """Let the routing of each layer adjust its first weights, and the running statistics of its normalizations, to
    what random capsules make of it.

    Args:
        layers: one after the other; the parents of each are the children of the next.
    """
    norms = {
        norm: norm.momentum
        for layer in layers
        for norm in layer.modules()
        if isinstance(norm, _BatchNorm) and norm.track_running_stats
    }
    if not norms and all(type(layer.routing).adjust is MatrixRouting.adjust for layer in layers):
        return
    for norm in norms:
        norm.momentum = 1.0
    first = layers[0]
    sides = [side - 2 * first.padding for side in first.windows.size]
    generator = torch.Generator().manual_seed(0)
    poses = torch.randn(RANDOM_IMAGES, first.in_types, *sides, SIDE, SIDE, generator=generator)
    capsules = Capsules(poses, torch.randn(poses.shape[:4], generator=generator).sigmoid())
    for layer in layers:
        layer.routing.adjust(layer.layer_votes(capsules))
        capsules = layer(capsules)
    for norm, momentum in norms.items():
        norm.momentum = momentum
        norm.num_batches_tracked.zero_()
