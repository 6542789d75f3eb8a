"""Cutout (DeVries & Taylor 2017, arXiv:1708.04552)."""

import torch
from torch import Tensor


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
