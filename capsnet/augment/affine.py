"""Affine transformations of images: rotation, scaling, shear and translation in one resampling."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Affine(NamedTuple):
    """Random affine transformations, each of the four drawn evenly up to a limit in both directions."""

    rotation: float
    """Degrees."""
    scaling: float
    """Share by which an image becomes larger or smaller; 0.2: from 1 / 1.2 to 1.2 times its size."""
    shear: float
    """Degrees."""
    translation: float
    """Pixels along each axis."""

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Where between the limits, from -1 to 1, for angle, size, shear, x and y, [count, 5]."""
        return 2 * torch.rand(count, 5, generator=generator) - 1

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[batch, channels, height, width] floating point -> the same shape."""
        angles, sizes, slants = draws[:, 0] * self.rotation, (1 + self.scaling) ** draws[:, 1], draws[:, 2] * self.shear
        matrices = scaling(sizes) @ shear(slants) @ rotation(angles)
        return resample(images, matrices, draws[:, None, None, 3:] * self.translation)


def resample(images: Tensor, matrices: Tensor, displacements: Tensor | None = None) -> Tensor:
    """Transform each image about its middle, by bilinear interpolation. Outside the image is 0.

    Args:
        images: [batch, channels, height, width], floating point.
        matrices: from a place in the result to the place in the image that it shows, as (x, y) in pixels from the
            middle, x to the right and y down; [batch, 2, 2].
        displacements: pixels to add to the place in the image, [batch, height, width, 2] or broadcast to it.
    """
    height, width = images.shape[2:]
    y, x = (torch.arange(side, device=images.device) - (side - 1) / 2 for side in (height, width))
    places = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1).to(images.dtype)  # [h, w, 2]
    sources = torch.einsum("bij,hwj->bhwi", matrices.to(images.dtype), places)
    if displacements is not None:
        sources = sources + displacements
    half = torch.tensor([max(width - 1, 1), max(height - 1, 1)], device=images.device, dtype=images.dtype) / 2
    return F.grid_sample(images, sources / half, padding_mode="zeros", align_corners=True)


def rotation(degrees: Tensor) -> Tensor:
    """Matrices for `resample` that turn images clockwise by [batch] degrees."""
    cosine, sine = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    return torch.stack([torch.stack([cosine, sine], -1), torch.stack([-sine, cosine], -1)], -2)


def scaling(factors: Tensor) -> Tensor:
    """Matrices for `resample` that enlarge images by [batch] factors."""
    return torch.diag_embed((1 / factors)[:, None].expand(-1, 2))


def shear(degrees: Tensor) -> Tensor:
    """Matrices for `resample` that slant images: upright strokes lean to the right by [batch] degrees."""
    ones, zeros = torch.ones_like(degrees), torch.zeros_like(degrees)
    slope = torch.deg2rad(degrees).tan()
    return torch.stack([torch.stack([ones, slope], -1), torch.stack([zeros, ones], -1)], -2)
