"""Cutout (DeVries & Taylor 2017, arXiv:1708.04552)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Cutout(NamedTuple):
    """Blank a square of `size` pixels, whose middle may be any pixel."""

    size: int

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Row and column of the square's middle, [count, 2] int64."""
        rows = torch.randint(height, (count,), generator=generator)
        columns = torch.randint(width, (count,), generator=generator)
        return torch.stack([rows, columns], dim=1)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return cutout(images, draws, self.size)


def cutout(images: Tensor, centres: Tensor, size: int) -> Tensor:
    """Set a square of `size` pixels to 0 in each image, clipped at the border.

    Args:
        images: [batch, channels, height, width].
        centres: row and column of the square's middle (for an even size, of the pixel right below it), [batch, 2].
        size: side of the square in pixels.
    """
    first = centres - size // 2
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[2:])
    row_inside = (rows >= first[:, :1]) & (rows < first[:, :1] + size)
    column_inside = (columns >= first[:, 1:]) & (columns < first[:, 1:] + size)
    return images * ~(row_inside[:, :, None] & column_inside[:, None, :]).unsqueeze(1)
