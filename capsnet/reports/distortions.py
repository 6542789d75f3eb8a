"""Distortions of test images, each over a range of levels: what the robustness of a network is measured with."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ..augment.affine import resample, rotation, scaling, shear
from ..augment.cutout import cutout
from ..augment.ground import on_ground
from ..augment.shift import shift


class Distortion(NamedTuple):
    """A distortion and the levels at which it is measured. What comes into an image from outside has the color of the
    image's border.

    Each image has its own draws from the generator. How many these are does not depend on the level, so with the same
    generator, they are the same at every level and for every network.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    unchanged: float
    """The level that leaves images as they are."""
    apply: Callable[[Tensor, float, Generator], Tensor]
    """(images [batch, channels, height, width] in [0, 1], level, generator on the CPU) -> images."""


def _uniform(images: Tensor, generator: Generator) -> Tensor:
    """Two numbers in [0, 1) for each image, [batch, 2]."""
    return torch.rand(len(images), 2, generator=generator).to(images.device)


def _signs(images: Tensor, generator: Generator) -> Tensor:
    return torch.where(_uniform(images, generator)[:, 0] < 0.5, -1.0, 1.0)


def _rotate(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    matrices = rotation(degrees * _signs(images, generator))
    return on_ground(images, lambda inner: resample(inner, matrices))


def _translate(images: Tensor, share: float, generator: Generator) -> Tensor:
    """By whole pixels, up, down, left or right."""
    height, width = images.shape[2:]
    draws = _uniform(images, generator)
    along_rows, sign = draws[:, 0] < 0.5, torch.where(draws[:, 1] < 0.5, -1, 1)
    rows = torch.where(along_rows, round(share * height), 0)
    columns = torch.where(along_rows, 0, round(share * width))
    shifts = torch.stack([rows, columns], dim=1) * sign[:, None]
    return on_ground(images, lambda inner: shift(inner, shifts))


def _scale(images: Tensor, factor: float, generator: Generator) -> Tensor:
    matrices = scaling(torch.full((len(images),), factor, device=images.device))
    return on_ground(images, lambda inner: resample(inner, matrices))


def _shear(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    matrices = shear(degrees * _signs(images, generator))
    return on_ground(images, lambda inner: resample(inner, matrices))


def _add_noise(images: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Normal noise, cut off at black and white."""
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + deviation * noise).clamp(0, 1)


def _occlude(images: Tensor, share: float, generator: Generator) -> Tensor:
    """By a square that lies inside the image and has the color of its border."""
    height, width = images.shape[2:]
    size = round(share * min(height, width))
    room = torch.tensor([height - size + 1, width - size + 1], device=images.device)
    centres = (_uniform(images, generator) * room).long() + size // 2
    return on_ground(images, lambda inner: cutout(inner, centres, size))


DISTORTIONS = (
    Distortion("rotation", "degrees", (0, 10, 20, 30, 45, 60), 0, _rotate),
    Distortion("translation", "of the side", (0, 0.05, 0.1, 0.15, 0.2, 0.3), 0, _translate),
    Distortion("scaling", "times the size", (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5), 1, _scale),
    Distortion("shear", "degrees", (0, 10, 20, 30, 40), 0, _shear),
    Distortion("noise", "standard deviation", (0, 0.1, 0.2, 0.3, 0.4, 0.5), 0, _add_noise),
    Distortion("occlusion", "of the side", (0, 0.1, 0.2, 0.3, 0.4, 0.5), 0, _occlude),
)
UNITS = {distortion.name: distortion.unit for distortion in DISTORTIONS}
"""Of the levels, by distortion."""
