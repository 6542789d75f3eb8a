"""Elastic deformation (Simard, Steinkraus & Platt 2003): every part of an image moves a little another way."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .affine import resample

GRID = 5
"""Random displacements are drawn at GRID x GRID places and interpolated smoothly between them."""


class Elastic(NamedTuple):
    """Move places at random, by normal displacements with this standard deviation in pixels."""

    deviation: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Displacements in standard deviations, [count, 2 * GRID * GRID]."""
        return torch.randn(count, 2 * GRID * GRID, generator=generator)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[batch, channels, height, width] floating point -> the same shape. Outside the image is 0."""
        coarse = draws.view(-1, 2, GRID, GRID) * self.deviation
        field = F.interpolate(coarse, images.shape[2:], mode="bicubic", align_corners=True).movedim(1, -1)
        unchanged = torch.eye(2, device=images.device).expand(len(images), 2, 2)
        return resample(images, unchanged, field)
