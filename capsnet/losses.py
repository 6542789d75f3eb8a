"""What networks are trained on: margin loss, spread loss or cross-entropy of the scores; the reconstruction loss."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import ConfigError
from .output import Output, Targets, one_hot


def margin_loss(
    lengths: Tensor,
    labels: Tensor,
    m_pos: float = 0.9,
    m_neg: float = 0.1,
    down_weight: float = 0.5,
    weights: Tensor | None = None,
) -> Tensor:
    """Make the true class's capsule longer than `m_pos` and the others shorter than `m_neg` (Sabour et al., eq. 4).

    Args:
        lengths: lengths of the class capsules, [batch, classes].
        labels: true classes, [batch], integers in [0, classes); or class probabilities, [batch, classes]: T of the
            paper.
        m_pos: m+ of the paper.
        m_neg: m- of the paper.
        down_weight: λ of the paper, the weight of the loss for absent classes.
        weights: of the images in the mean, [batch]; None: all are 1.

    Returns:
        Scalar: sum over the classes, mean over the batch, computed in float32 at least.

    Raises:
        ValueError: the labels have another shape, or, on a CPU, are no classes.
    """
    lengths = _at_least_float32(lengths)
    if labels.shape != (lengths.shape if labels.is_floating_point() else lengths.shape[:1]):
        raise ValueError(f"expected labels [batch] or [batch, classes], got {list(labels.shape)} {labels.dtype}")
    present = (m_pos - lengths).clamp(min=0).square()
    absent = down_weight * (lengths - m_neg).clamp(min=0).square()
    if labels.is_floating_point():
        of_images = torch.lerp(absent, present, labels.to(lengths.dtype)).sum(dim=1)
    else:
        is_label = labels.unsqueeze(1) == torch.arange(lengths.shape[1], device=lengths.device)
        unseen = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        if lengths.device.type == "cpu" and not unseen and not is_label.any(dim=1).all():
            raise ValueError(f"expected labels from 0 to {lengths.shape[1] - 1}, got {labels.tolist()}")
        of_images = torch.where(is_label, present, absent).sum(dim=1)
    return of_images.mean() if weights is None else (weights * of_images).mean()


def reconstruction_loss(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Mean squared error per pixel.

    The paper weights the *sum* of squares over the 784 pixels of an image by 0.0005; for this mean, that is a weight of
    0.0005 * 784 = 0.392, the default of `loss.reconstruction_weight`.

    Args:
        reconstruction: [batch, *image_shape].
        images: same shape, values in [0, 1].

    Returns:
        Scalar: mean over pixels and batch, computed in float32 at least.
    """
    error = _at_least_float32(reconstruction) - images
    return error.square().mean()


LEAST_PROBABILITY, MOST_PROBABILITY = 1e-30, 1 - 1e-7  # of an activation in the cross-entropy; ln is -69


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Progress(NamedTuple):
    """How far a training is, for losses that change while it goes on."""

    step: int
    """Steps of the optimizer so far."""
    steps: int
    """Steps of the whole training."""
    epoch: int
    """Whole epochs so far: 0 in the first one."""
    epochs: int
    """Epochs of the whole training."""


END = Progress(step=10**6, steps=10**6, epoch=10**6, epochs=10**6)
"""Of a training that is over, however long it was. Validation and test use it, so that the losses of different epochs
can be compared: what changes with `step / steps`, or until some step or epoch, has come to its end."""


class Loss:
    """What is minimized. It is built once for a run; a subclass computes it.

    A loss of your own need not derive from this class: a function of (output, targets, progress) does, or one of
    (output, images, labels).
    """

    logits = False
    """It takes a network's scores as logits, of which softmax makes probabilities."""
    takes_weights = True
    """It weights the images by `Targets.weights`."""

    def __call__(self, output: Output, targets: Targets, progress: Progress = END) -> dict[str, Tensor]:
        """Scalars, means over the batch: "loss" is what is minimized, the others are its parts.

        Args:
            output: of the network.
            targets: what is wanted of it.
            progress: of the training; in validation and test, its end.
        """
        raise NotImplementedError


class AdaptedLoss(Loss):
    """A function as a `Loss`.

    Args:
        function: of (output, targets, progress), or of (output, images, labels), where labels under mixup are class
            probabilities; this one may take weights=None, too, see `Targets.weights`. The names `images` and
            `labels`, or `inputs` and `targets`, tell it from the other. It returns named scalars, or the loss alone.
        logits: see `Loss`.

    Raises:
        ConfigError: the function takes something else, returns no "loss", or no scalars; or it takes one class an image
            where there are several.
    """

    def __init__(self, function: Callable[..., dict[str, Tensor]], logits: bool = False):
        self.function, self.logits = function, logits
        if not callable(function):
            raise ConfigError(f"loss: build must return a function, or a capsnet.losses.Loss; got {function!r}")
        signature = inspect.signature(function.forward if isinstance(function, torch.nn.Module) else function)
        names = list(signature.parameters)
        try:
            signature.bind(None, None, None)
        except TypeError:
            takes = f"it takes {signature}"
            raise ConfigError(
                f"loss: must take (output, targets, progress), or (output, images, labels); {takes}"
            ) from None
        plain = {"images", "inputs", "labels"} & set(names[1:3])
        self.takes_targets = not plain or names[1:2] == ["targets"] or "progress" in names
        self.takes_weights = self.takes_targets or "weights" in names

    def __call__(self, output: Output, targets: Targets, progress: Progress = END) -> dict[str, Tensor]:
        if self.takes_targets:
            losses = self.function(output, targets, progress)
        else:
            if targets.labels.ndim > 1:
                raise ConfigError("loss: takes one class an image; one of (output, targets, progress) may take several")
            weights = {} if targets.weights is None else {"weights": targets.weights}
            losses = self.function(output, targets.drawn, targets.classes, **weights)
        losses = {"loss": losses} if isinstance(losses, Tensor) else losses
        if "loss" not in losses:
            raise ConfigError("loss: what it returns must have a 'loss', which is minimized")
        if several := [name for name, value in losses.items() if torch.as_tensor(value).ndim]:
            raise ConfigError(f"loss: {several[0]!r} must be a scalar, the mean over the batch")
        return losses


class MarginLoss(Loss):
    """Margin loss of a network's scores, plus a weighted reconstruction loss if it reconstructs.

    Args:
        m_pos, m_neg, down_weight: see `margin_loss`.
        reconstruction_weight: weight of `reconstruction_loss`.
    """

    def __init__(
        self, m_pos: float = 0.9, m_neg: float = 0.1, down_weight: float = 0.5, reconstruction_weight: float = 0.392
    ):
        self.margins = (m_pos, m_neg, down_weight)
        self.reconstruction_weight = reconstruction_weight

    def __call__(self, output: Output, targets: Targets, progress: Progress = END) -> dict[str, Tensor]:
        one_class_each = targets.classes.ndim == 1 or targets.probabilities is not None
        labels = targets.classes if one_class_each else targets.presence(output.scores.shape[1])
        margin = margin_loss(output.scores, labels, *self.margins, targets.weights)
        return with_reconstruction({"margin_loss": margin}, output, targets, self.reconstruction_weight)


class CrossEntropyLoss(Loss):
    """Cross-entropy of a network's scores, plus a weighted reconstruction loss if it reconstructs.

    Softmax, or sigmoid where an image has several classes.

    Args:
        label_smoothing: share of the target spread evenly over all classes; with softmax only.
        activations: class capsules that have activations are "probabilities", in proportion to each other; or these are
            taken as "logits", as Ribeiro et al. (2020) do, so that the loss stays far above 0.
        reconstruction_weight: weight of `reconstruction_loss`.
    """

    logits = True

    def __init__(
        self,
        label_smoothing: float = 0.0,
        activations: str = "probabilities",
        reconstruction_weight: float = 0.392,
    ):
        self.label_smoothing, self.reconstruction_weight = label_smoothing, reconstruction_weight
        self.activations = activations

    def __call__(self, output: Output, targets: Targets, progress: Progress = END) -> dict[str, Tensor]:
        scores, weights = _at_least_float32(output.scores), targets.weights
        if output.activations is not None and self.activations == "probabilities":
            present = scores.clamp(LEAST_PROBABILITY, MOST_PROBABILITY)
            scores = present.log() if targets.labels.ndim == 1 else present.logit()
        if targets.labels.ndim == 2:
            presence = targets.presence(scores.shape[1]).to(scores.dtype)
            of_images = F.binary_cross_entropy_with_logits(scores, presence, reduction="none").sum(1)
            entropy = of_images.mean() if weights is None else (weights * of_images).mean()
        else:
            labels = targets.classes
            labels = labels.to(scores.dtype) if labels.is_floating_point() else labels
            smoothing = {"label_smoothing": self.label_smoothing}
            if weights is None:
                entropy = F.cross_entropy(scores, labels, **smoothing)
            else:
                entropy = (weights * F.cross_entropy(scores, labels, **smoothing, reduction="none")).mean()
        return with_reconstruction({"cross_entropy": entropy}, output, targets, self.reconstruction_weight)


def spread_loss(scores: Tensor, labels: Tensor, margin: float = 0.9, weights: Tensor | None = None) -> Tensor:
    """Let the true class's score exceed every other one by a margin (Hinton, Sabour & Frosst 2018, eq. 3).

    Args:
        scores: activations of the class capsules, [batch, classes].
        labels: true classes, [batch], integers in [0, classes); or [batch, k], of the k things in each image, whose
            classes need not exceed each other; or class probabilities, floating point [batch, classes], by which the
            losses of the classes are weighted.
        margin: m of the paper.
        weights: of the images in the mean, [batch]; None: all are 1.

    Returns:
        Scalar: Σ_t Σ_i max(0, m - (a_t - a_i))² over true classes t and others i, mean over the batch, in float32 at
        least.
    """
    scores = _at_least_float32(scores)
    classes = scores.shape[1]
    costs = (margin - (scores.unsqueeze(2) - scores.unsqueeze(1))).clamp(min=0).square()  # [batch, t, i]
    if labels.is_floating_point():
        true, other = labels.to(scores.dtype), ~torch.eye(classes, dtype=torch.bool, device=scores.device)
        pairs = true.unsqueeze(2) * other
    else:
        true = one_hot(labels.view(len(labels), -1), classes).amax(1).to(scores.dtype)
        pairs = true.unsqueeze(2) * (1 - true).unsqueeze(1)
    of_images = (pairs * costs).sum((1, 2))
    return of_images.mean() if weights is None else (weights * of_images).mean()


class SpreadLoss(Loss):
    """Spread loss with a growing margin, plus a weighted reconstruction loss if the network reconstructs.

    The margin grows in a straight line. Small ones at the beginning keep capsules from dying (Hinton et al. 2018).

    Args:
        first_margin, last_margin: m at the beginning, and when it has grown.
        growth: share of the training's steps during which it grows.
        reconstruction_weight: weight of `reconstruction_loss`.
    """

    def __init__(
        self,
        first_margin: float = 0.2,
        last_margin: float = 0.9,
        growth: float = 0.5,
        reconstruction_weight: float = 0.392,
    ):
        self.first_margin, self.last_margin, self.growth = first_margin, last_margin, growth
        self.reconstruction_weight = reconstruction_weight

    def margin(self, progress: Progress) -> float:
        """m at some point of the training."""
        grown = min(1.0, progress.step / max(1.0, self.growth * progress.steps)) if self.growth else 1.0
        return self.first_margin + grown * (self.last_margin - self.first_margin)

    def __call__(self, output: Output, targets: Targets, progress: Progress = END) -> dict[str, Tensor]:
        spread = spread_loss(output.scores, targets.classes, self.margin(progress), targets.weights)
        return with_reconstruction({"spread_loss": spread}, output, targets, self.reconstruction_weight)


def with_reconstruction(
    losses: dict[str, Tensor], output: Output, targets: Targets, weight: float
) -> dict[str, Tensor]:
    """The loss of the scores alone, or with the reconstruction loss of a network that reconstructs.

    Args:
        losses: the one loss of the scores, by name.
        output: of the network.
        targets: what should be drawn.
        weight: of the reconstruction loss.

    Returns:
        "loss", which is minimized, and its parts.
    """
    (of_scores,) = losses.values()
    if output.reconstruction is None:
        return {"loss": of_scores, **losses}
    error = reconstruction_loss(output.reconstruction, targets.drawn)
    return {"loss": of_scores + weight * error, **losses, "reconstruction_loss": error}
