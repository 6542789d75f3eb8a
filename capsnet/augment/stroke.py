"""Thicker and thinner strokes, for writing in light on dark."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Stroke(NamedTuple):
    """Thicken or thin bright strokes, by up to `most` pixels on each side; at most 1."""

    most: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """From -1, thinner, to 1, thicker, [count, 1]."""
        return 2 * torch.rand(count, 1, generator=generator) - 1

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape: a mean of each image and its brightest neighbors."""
        amounts = (draws * self.most)[:, :, None, None]
        thick = F.max_pool2d(images, 3, stride=1, padding=1)
        thin = -F.max_pool2d(-images, 3, stride=1, padding=1)
        return torch.lerp(images, torch.where(amounts > 0, thick, thin), amounts.abs())
