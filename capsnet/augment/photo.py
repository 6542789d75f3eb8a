"""What photographs differ in though they show the same: which side is left, brightness, contrast, strength of color."""

from typing import NamedTuple

import torch
from torch import Tensor

GRAY = (0.299, 0.587, 0.114)  # shares of red, green and blue in the brightness (ITU-R BT.601)


class Flip(NamedTuple):
    """Swap left and right, with this probability."""

    probability: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Evenly from 0 to 1, [count, 1]."""
        return torch.rand(count, 1, generator=generator)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape."""
        return torch.where((draws < self.probability)[:, :, None, None], images.flip(3), images)


class Light(NamedTuple):
    """Change brightness, contrast and strength of color, each by a factor up to this share above or below 1."""

    brightness: float
    contrast: float
    color: float

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Where between the limits, from -1 to 1, for the three, [count, 3]."""
        return 2 * torch.rand(count, 3, generator=generator) - 1

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[batch, 1 or 3 channels, height, width] in [0, 1] -> the same shape and range."""
        strengths = torch.tensor(self, device=images.device, dtype=images.dtype)
        factors = (1 + draws.to(images.dtype) * strengths)[:, :, None, None]
        brightness, contrast, color = factors.split(1, dim=1)
        images = images * brightness
        if images.shape[1] == 3:
            gray = torch.einsum("bchw,c->bhw", images, images.new_tensor(GRAY))[:, None]
            images = torch.lerp(gray, images, color)
        mean = images.mean((1, 2, 3), keepdim=True)
        return torch.lerp(mean, images, contrast).clamp(0, 1)
