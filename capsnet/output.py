"""What every network says about a batch of images, and what is wanted of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Output(NamedTuple):
    """What a network's `forward(images, labels=None)` returns."""

    scores: Tensor
    """[batch, classes]; the largest is the prediction. For a capsule network, the lengths of its class capsules."""
    capsules: Tensor | None = None
    """Class capsules, [batch, classes, dim]; None for a network without capsules."""
    reconstruction: Tensor | None = None
    """Images drawn by the decoder, in [0, 1]: [batch, *image_shape], or [batch, k, *image_shape] where a task draws k
    things of each; None for a network without a decoder."""
    activations: Tensor | None = None
    """[batch, classes], of capsules that have a pose and an activation; None for others, whose length it is."""
    extras: dict[str, Tensor] | None = None
    """What else a network says of each image, for a loss or a metric of your own, by name: [batch, ...] each."""


class Targets(NamedTuple):
    """What is wanted of a batch of images."""

    labels: Tensor
    """True class of each image, [batch] int64; or classes of the k things in each, [batch, k]."""
    drawn: Tensor
    """What the decoder should draw, in [0, 1]: [batch, *image_shape], or [batch, k, *image_shape]."""
    probabilities: Tensor | None = None
    """Of the classes, [batch, classes], where images are mixed; the labels are then those of the larger shares."""
    weights: Tensor | None = None
    """Of the images in the loss of the scores, [batch]; None: all are 1."""
    extras: dict[str, Tensor] | None = None
    """What else the dataset knows of each image, or of the first one in an item, by name: [batch, ...] each."""

    @property
    def classes(self) -> Tensor:
        """The class probabilities where there are some, else the labels."""
        return self.labels if self.probabilities is None else self.probabilities

    def presence(self, num_classes: int) -> Tensor:
        """T of the margin loss, [batch, classes] floating point: the share of each class in an image."""
        if self.probabilities is not None:
            return self.probabilities
        shares = one_hot(self.labels, num_classes).float()
        return shares if shares.ndim == 2 else shares.amax(1)

    def first(self, count: int) -> "Targets":
        """Those of the first images."""
        return Targets(*(_each(values, lambda some: some[:count]) for values in self))


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """[...] -> [..., classes], as torch's own, but also in the transforms of `torch.func`, where nothing is checked."""
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).long()
    return F.one_hot(labels.long(), classes)


def detached(output: Output) -> Output:
    """The same values, without the way to gradients."""
    return Output(*(_each(values, Tensor.detach) for values in output))


def _each(values: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A function of a tensor, of each one in a dictionary, or None of None."""
    if isinstance(values, dict):
        return {name: function(value) for name, value in values.items()}
    return None if values is None else function(values)
