"""What a CapsNet is trained on: the margin loss on capsule lengths, and the reconstruction loss."""

from typing import NamedTuple

import torch
from torch import Tensor

from .config import LossConfig


def margin_loss(
    lengths: Tensor,
    labels: Tensor,
    m_pos: float = LossConfig.m_pos,
    m_neg: float = LossConfig.m_neg,
    down_weight: float = LossConfig.down_weight,
) -> Tensor:
    """Ask the right class for a capsule longer than `m_pos`, the others for shorter than `m_neg` (eq. 4).

    Args:
        lengths: lengths of the class capsules, [batch, classes].
        labels: right classes, [batch], integers in [0, classes).
        m_pos: m+ of the paper.
        m_neg: m- of the paper.
        down_weight: λ of the paper, the weight of the absent classes' part.

    Returns:
        Scalar: sum over the classes, mean over the batch.
    """
    present = (m_pos - lengths).clamp(min=0).square()
    absent = down_weight * (lengths - m_neg).clamp(min=0).square()
    is_label = labels.unsqueeze(1) == torch.arange(lengths.shape[1], device=lengths.device)
    return torch.where(is_label, present, absent).sum(dim=1).mean()


def reconstruction_loss(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Mean squared error per pixel.

    The paper weighs the *sum* of squares over the 784 pixels of an image by 0.0005; on this mean that is a weight of
    0.0005 * 784 = 0.392, the default of `loss.reconstruction_weight`.

    Args:
        reconstruction: [batch, *image_shape].
        images: same shape, values in [0, 1].

    Returns:
        Scalar: mean over pixels and batch, computed in float32 at least.
    """
    error = reconstruction.to(torch.promote_types(reconstruction.dtype, torch.float32)) - images
    return error.square().mean()


class Losses(NamedTuple):
    """What a batch costs; each a scalar, the mean over its images."""

    loss: Tensor
    """margin_loss + weight * reconstruction_loss: what is minimised."""
    margin_loss: Tensor
    reconstruction_loss: Tensor


def capsnet_losses(
    lengths: Tensor, reconstruction: Tensor, images: Tensor, labels: Tensor, config: LossConfig
) -> Losses:
    """What the output of a network costs.

    Args:
        lengths: of the class capsules, [batch, classes].
        reconstruction: what the decoder drew, [batch, *image_shape].
        images: what it should have drawn, the same shape.
        labels: right classes, [batch].
        config: margins and weights.
    """
    margin = margin_loss(lengths, labels, config.m_pos, config.m_neg, config.down_weight)
    error = reconstruction_loss(reconstruction, images)
    return Losses(margin + config.reconstruction_weight * error, margin, error)
