"""What networks are trained on: the margin loss on capsule lengths, and the reconstruction loss."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import ConfigError
from .output import Output


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
    """
    lengths = _at_least_float32(lengths)
    present = (m_pos - lengths).clamp(min=0).square()
    absent = down_weight * (lengths - m_neg).clamp(min=0).square()
    if labels.is_floating_point():
        of_images = torch.lerp(absent, present, labels.to(lengths.dtype)).sum(dim=1)
    else:
        is_label = labels.unsqueeze(1) == torch.arange(lengths.shape[1], device=lengths.device)
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


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


RESERVED_NAMES = {
    *("accuracy", "balanced_accuracy", "checkpoint", "class_names", "config", "confusion", "dataset", "differences"),
    *("epoch", "per_class_accuracy", "shifts"),
}
"""What evaluation.json calls something else, so that a loss cannot use it."""


def check_names(losses: dict[str, Tensor]) -> None:
    """Raise ConfigError if what a loss returns lacks "loss", or has a reserved name."""
    if "loss" not in losses:
        raise ConfigError("loss: what it returns must have a 'loss', which is minimized")
    if reserved := RESERVED_NAMES & losses.keys():
        raise ConfigError(f"loss: what it returns must not have {sorted(reserved)[0]!r}; choose another name")


class MarginLoss:
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

    def __call__(
        self, output: Output, images: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Scalars, means over the batch: "loss" is what is minimized, the others are its parts.

        Args:
            output: of the network.
            images: [batch, *image_shape] in [0, 1], what should be reconstructed.
            labels: true classes, [batch], or class probabilities, [batch, classes].
            weights: of the images in the loss of the scores, [batch]; None: all are 1.
        """
        margin = margin_loss(output.scores, labels, *self.margins, weights)
        return with_reconstruction({"margin_loss": margin}, output, images, self.reconstruction_weight)


class CrossEntropyLoss:
    """Softmax cross-entropy of a network's scores, plus a weighted reconstruction loss if it reconstructs.

    Args:
        label_smoothing: share of the target spread evenly over all classes.
        reconstruction_weight: weight of `reconstruction_loss`.
    """

    def __init__(self, label_smoothing: float = 0.0, reconstruction_weight: float = 0.392):
        self.label_smoothing, self.reconstruction_weight = label_smoothing, reconstruction_weight

    def __call__(
        self, output: Output, images: Tensor, labels: Tensor, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Scalars, as of `MarginLoss`."""
        scores, smoothing = _at_least_float32(output.scores), self.label_smoothing
        labels = labels.to(scores.dtype) if labels.is_floating_point() else labels
        if weights is None:
            entropy = F.cross_entropy(scores, labels, label_smoothing=smoothing)
        else:
            entropy = (weights * F.cross_entropy(scores, labels, label_smoothing=smoothing, reduction="none")).mean()
        return with_reconstruction({"cross_entropy": entropy}, output, images, self.reconstruction_weight)


def with_reconstruction(losses: dict[str, Tensor], output: Output, images: Tensor, weight: float) -> dict[str, Tensor]:
    """The loss of the scores alone, or with the reconstruction loss of a network that reconstructs.

    Args:
        losses: the one loss of the scores, by name.
        output: of the network.
        images: [batch, *image_shape] in [0, 1].
        weight: of the reconstruction loss.

    Returns:
        "loss", which is minimized, and its parts.
    """
    (of_scores,) = losses.values()
    if output.reconstruction is None:
        return {"loss": of_scores, **losses}
    error = reconstruction_loss(output.reconstruction, images)
    return {"loss": of_scores + weight * error, **losses, "reconstruction_loss": error}
