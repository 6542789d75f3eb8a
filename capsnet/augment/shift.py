"""Shifts by whole pixels."""

from typing import NamedTuple

import torch
from torch import Tensor


class Shift(NamedTuple):
    """Shift by up to `most` pixels along each axis."""

    most: int

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Pixels down and right, [count, 2] int64."""
        return torch.randint(-self.most, self.most + 1, (count, 2), generator=generator)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return shift(images, draws)


def shift(images: Tensor, shifts: Tensor) -> Tensor:
    """Move each image by whole pixels; what comes in from outside is 0.

    Args:
        images: [batch, channels, height, width].
        shifts: pixels down and right, [batch, 2] integers.
    """
    batch, _, height, width = images.shape
    rows = torch.arange(height, device=images.device) - shifts[:, :1]  # where each row comes from, [batch, height]
    columns = torch.arange(width, device=images.device) - shifts[:, 1:]
    image = torch.arange(batch, device=images.device)[:, None, None]
    moved = images[image, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    row_inside, column_inside = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return moved.movedim(-1, 1) * (row_inside[:, :, None] & column_inside[:, None, :]).unsqueeze(1)
