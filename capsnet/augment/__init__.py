"""Augmentation of whole batches on their device, each image with its own random draw."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from ..errors import ConfigError
from .affine import Affine
from .cutout import Cutout
from .elastic import Elastic
from .erasing import Erasing
from .ground import on_ground
from .mixup import Mixup
from .photo import Flip, Light
from .shift import Shift
from .stroke import Stroke

Draws = dict[str, Tensor]
"""The random choices for n images by kind, [n, ...]. They are made before batches are cut, so they depend on no batch
size."""


class Kind(Protocol):
    """One kind of augmentation."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw for `count` images, on the CPU, where the same seed gives the same draws on every machine."""

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[batch, channels, height, width] in [0, 1] -> the same, augmented by the `draws` of the same batch."""


Added = Callable[[Tensor, torch.Generator], Tensor]
"""What a plugin adds. It gets a batch, [batch, channels, height, width] float32 in [0, 1], which it may change, and
random numbers on the same device. It returns the augmented batch, in the same form."""


class Augmentation:
    """All kinds that are switched on, in the order in which they are applied, then what plugins add. See
    `settings.augment`. What comes in from outside an image, and what is blanked, gets the color of its border.

    Mixup needs other images, so the task applies it, after the rest.
    """

    def __init__(
        self,
        max_shift: int = 0,
        cutout_size: int = 0,
        rotation: float = 0,
        scaling: float = 0,
        shear: float = 0,
        translation: float = 0,
        elastic: float = 0,
        stroke: float = 0,
        erasing: float = 0,
        mixup: float = 0,
        flip: float = 0,
        brightness: float = 0,
        contrast: float = 0,
        color: float = 0,
        added: Mapping[str, Added] | None = None,
    ):
        self.sizes = {"max_shift": max_shift, "cutout_size": cutout_size, "translation": translation}
        affine = Affine(rotation, scaling, shear, translation)
        kinds: dict[str, tuple[float, Kind]] = {
            "stroke": (stroke, Stroke(stroke)),
            "affine": (max(affine), affine),
            "elastic": (elastic, Elastic(elastic)),
            "shift": (max_shift, Shift(max_shift)),
            "cutout": (cutout_size, Cutout(cutout_size)),
            "erasing": (erasing, Erasing(erasing)),
        }
        light = Light(brightness, contrast, color)
        of_light: dict[str, tuple[float, Kind]] = {"flip": (flip, Flip(flip)), "light": (max(light), light)}
        self.kinds = {name: kind for name, (strength, kind) in kinds.items() if strength}
        """Those that fill with 0."""
        self.of_light = {name: kind for name, (strength, kind) in of_light.items() if strength}
        self.mixup = Mixup(mixup) if mixup else None
        self.added = dict(added or {})

    def check_fits(self, height: int, width: int) -> None:
        """Raise ConfigError if a size is larger than the images."""
        for key, size in self.sizes.items():
            if size > min(height, width):
                raise ConfigError(f"augment.{key}={size}: larger than the images, {height}x{width} pixels")

    def draw(self, count: int, height: int, width: int, generator_of: Callable[[str], torch.Generator]) -> Draws:
        """Draw for `count` images.

        Args:
            count: number of images.
            height, width: of the images.
            generator_of: random numbers for each kind, so that switching one on changes no other's draws.
        """
        kinds = self.of_light | self.kinds
        return {name: kind.draw(count, height, width, generator_of(name)) for name, kind in kinds.items()}

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """[batch, channels, height, width] in [0, 1] -> the same, augmented by the `draws` of the same batch."""
        for name, kind in self.of_light.items():
            images = kind(images, draws[name])
        return on_ground(images, lambda moved: self._moved(moved, draws)) if self.kinds else images

    def _moved(self, images: Tensor, draws: Draws) -> Tensor:
        for name, kind in self.kinds.items():
            images = kind(images, draws[name])
        return images

    def apply_added(self, images: Tensor, generator_of: Callable[[str], torch.Generator]) -> Tensor:
        """What plugins add, one after the other.

        Args:
            images: [batch, channels, height, width] in [0, 1]; they may be changed.
            generator_of: random numbers for each name, on the images' device.

        Raises:
            ConfigError: the images that come back have another shape.
        """
        for name, augment in self.added.items():
            augmented = augment(images, generator_of(name))
            if augmented.shape != images.shape:
                shapes = f"made images of shape {list(augmented.shape)} from {list(images.shape)}"
                raise ConfigError(f"augment={name}: {shapes}")
            images = augmented
        return images
