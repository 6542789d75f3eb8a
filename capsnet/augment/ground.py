"""The ground of images: the color of their borders, which fills what comes in from outside and what is blanked."""

from collections.abc import Callable

import torch
from torch import Tensor


def ground_color(images: Tensor) -> Tensor:
    """The median of each image's border, [batch, channels, height, width] -> [batch, channels, 1, 1]."""
    rows, columns = images[..., [0, -1], :], images[..., 1:-1, :][..., [0, -1]]
    around = torch.cat([rows.flatten(2), columns.flatten(2)], dim=2)
    return around.median(dim=2).values[..., None, None]


def on_ground(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Images in [0, 1] after a change that fills with 0, filled with their ground instead."""
    ground = ground_color(images)
    return (change(images - ground) + ground).clamp(0, 1)
