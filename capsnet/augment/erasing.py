"""Random erasing (Zhong et al. 2020, arXiv:1708.04896)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

AREA = (0.02, 0.25)  # shares of the image
ASPECT = 3.3  # height to width at most, and at least its inverse


class Erasing(NamedTuple):
    """Blank a rectangle of random size in an image, with this probability. It lies inside the image."""

    probability: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Whether, area, aspect, row and column, evenly from 0 to 1, [count, 5]."""
        return torch.rand(count, 5, generator=generator)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape."""
        height, width = images.shape[2:]
        chosen, area, aspect, row, column = draws.unbind(1)
        area = (AREA[0] + (AREA[1] - AREA[0]) * area) * height * width
        ratio = torch.exp((2 * aspect - 1) * math.log(ASPECT))
        tall, wide = (area * ratio).sqrt().round().clamp(1, height), (area / ratio).sqrt().round().clamp(1, width)
        top, left = (row * (height - tall + 1)).floor(), (column * (width - wide + 1)).floor()
        rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
        row_inside = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        column_inside = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        blank = row_inside[:, :, None] & column_inside[:, None, :] & (chosen < self.probability)[:, None, None]
        return images * ~blank.unsqueeze(1)
