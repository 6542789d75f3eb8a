"""Augmentation of whole batches on their device, each image with its own random draw."""

from typing import NamedTuple

import torch
from torch import Tensor


class Draws(NamedTuple):
    """The random choices for n images, made before they are batched, so that they depend on no batch size."""

    shifts: Tensor
    """Pixels down and right, [n, 2] int64; [n, 0] where nothing is shifted."""
    centres: Tensor
    """Row and column at the middle of the blanked square, [n, 2] int64; [n, 0] where nothing is cut out."""

    def rows(self, index: Tensor) -> "Draws":
        return Draws(self.shifts[index], self.centres[index])

    def to(self, device: torch.device) -> "Draws":
        return Draws(self.shifts.to(device), self.centres.to(device))


class Augmentation(NamedTuple):
    """Random shifts, then cutout (DeVries & Taylor 2017, arXiv:1708.04552); a size of 0 leaves that one out."""

    max_shift: int = 0
    cutout_size: int = 0

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Choose for `count` images, on the CPU, where a seed means the same on every machine."""
        shifts = centres = torch.empty(count, 0, dtype=torch.int64)
        if self.max_shift:
            shifts = torch.randint(-self.max_shift, self.max_shift + 1, (count, 2), generator=generator)
        if self.cutout_size:
            rows = torch.randint(height, (count,), generator=generator)
            columns = torch.randint(width, (count,), generator=generator)
            centres = torch.stack([rows, columns], dim=1)
        return Draws(shifts, centres)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """[batch, channels, height, width] -> the same, augmented by `draws` of the same batch."""
        if self.max_shift:
            images = shift(images, draws.shifts)
        if self.cutout_size:
            images = cutout(images, draws.centres, self.cutout_size)
        return images


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
    inside = _within(rows, 0, height)[:, :, None] & _within(columns, 0, width)[:, None, :]
    return moved.movedim(-1, 1) * inside.unsqueeze(1)


def cutout(images: Tensor, centres: Tensor, size: int) -> Tensor:
    """Set a square of `size` pixels to 0 in each image, clipped at the border.

    Args:
        images: [batch, channels, height, width].
        centres: row and column of the square's middle (of the pixel right below it for an even size), [batch, 2].
        size: side of the square in pixels.
    """
    first = centres - size // 2
    rows = _within(torch.arange(images.shape[2], device=images.device), first[:, :1], first[:, :1] + size)
    columns = _within(torch.arange(images.shape[3], device=images.device), first[:, 1:], first[:, 1:] + size)
    return images * ~(rows[:, :, None] & columns[:, None, :]).unsqueeze(1)


def _within(position: Tensor, first: Tensor | int, end: Tensor | int) -> Tensor:
    return (position >= first) & (position < end)
