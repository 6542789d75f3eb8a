"""Augmentation of whole batches on their device, each image with its own random draw."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ConfigError
from .cutout import cutout
from .shift import shift


class Draws(NamedTuple):
    """The random choices for n images. They are made before batches are cut, so they depend on no batch size."""

    shifts: Tensor
    """Pixels down and right, [n, 2] int64; [n, 0] if nothing is shifted."""
    centres: Tensor
    """Row and column of the blanked square's middle, [n, 2] int64; [n, 0] if nothing is cut out."""

    def rows(self, index: Tensor) -> "Draws":
        return Draws(self.shifts[index], self.centres[index])

    def to(self, device: torch.device) -> "Draws":
        return Draws(self.shifts.to(device), self.centres.to(device))


class Augmentation(NamedTuple):
    """Random shifts, then cutout; a size of 0 switches one off."""

    max_shift: int = 0
    cutout_size: int = 0

    def check_fits(self, height: int, width: int) -> None:
        """Raise ConfigError if a size is larger than the images."""
        for key, size in self._asdict().items():
            if size > min(height, width):
                raise ConfigError(f"augment.{key}={size}: larger than the images, {height}x{width} pixels")

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Draw for `count` images, on the CPU, where the same seed gives the same draws on every machine."""
        shifts = centres = torch.empty(count, 0, dtype=torch.int64)
        if self.max_shift:
            shifts = torch.randint(-self.max_shift, self.max_shift + 1, (count, 2), generator=generator)
        if self.cutout_size:
            rows = torch.randint(height, (count,), generator=generator)
            columns = torch.randint(width, (count,), generator=generator)
            centres = torch.stack([rows, columns], dim=1)
        return Draws(shifts, centres)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """[batch, channels, height, width] -> the same, augmented by the `draws` of the same batch."""
        if self.max_shift:
            images = shift(images, draws.shifts)
        if self.cutout_size:
            images = cutout(images, draws.centres, self.cutout_size)
        return images
