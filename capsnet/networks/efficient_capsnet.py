"""Efficient-CapsNet (Mazzia, Salvetti & Chiaberge 2021, arXiv:2101.12491): few parameters, few capsules."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..routing.attention import AttentionRouting
from ..routing.squash import steep_squash
from .batch_norm import BatchNorm2d
from .capsule_network import CapsuleNetwork, build_routing
from .decoder import DECODERS
from .layout import channels_last
from .window import Window, reach, window_of

STEM = ((32, 5, 1), (64, 3, 1), (64, 3, 1), (128, 3, 2))  # channels, kernel and stride of the convolutions
BATCH_NORM = {"eps": 1e-3, "momentum": 0.01}  # Keras' defaults, which the authors used; its momentum is 0.99


def stem_side(side: int) -> int:
    """Height or width of the feature map that the convolutions leave of an image."""
    for _, kernel, stride in STEM:
        side = (side - kernel) // stride + 1
    return side


class WholeMapCapsules(nn.Module):
    """A depthwise convolution whose kernel covers the whole map, its channels read as capsules.

    Its output is one number per channel, so it is computed as the sum of map times kernel, in the order in which a map
    with the channels last lies in memory.

    Adam changes all weights by about the learning rate, so the larger the map, the further one step would move the sum.
    Beyond the usual number of places, the kernel is therefore the weights times a number below 1, so that a step moves
    the sum as far as on small images.

    Args:
        channels, height, width: of the map.
        dim: dimensions of a capsule; it divides the channels.
        usual_places: places of the map of a 28x28 image.
    """

    def __init__(self, channels: int, height: int, width: int, dim: int, usual_places: int):
        super().__init__()
        self.dim = dim
        gain = min(1.0, usual_places / (height * width))
        # Not in checkpoints of usual images, where it is 1.
        self.register_buffer("gain", torch.tensor(gain), persistent=gain < 1)
        self.weight = nn.Parameter(torch.empty(channels, height, width))
        nn.init.normal_(self.weight, std=1 / (gain * math.sqrt(height * width)))
        self.bias = nn.Parameter(torch.zeros(channels))

    @property
    def kernel(self) -> Tensor:
        """What a map is multiplied with, [channels, height, width]."""
        return self.weight * self.gain

    def parts(self, features: Tensor) -> Tensor:
        """What each place adds to each capsule before squashing, [batch, channels / dim, dim, height, width]."""
        return (features * self.kernel).unflatten(1, (-1, self.dim))

    def sums(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> capsules before squashing, [batch, channels / dim, dim]."""
        places, kernel = features.permute(0, 2, 3, 1).flatten(1, 2), self.kernel.flatten(1).T.contiguous()
        return ((places * kernel).sum(1) + self.bias).unflatten(1, (-1, self.dim))

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels / dim, dim], lengths in [0, 1]."""
        return steep_squash(self.sums(features))


class EfficientCapsNet(CapsuleNetwork):
    """Images to class capsules, and from one of them back to an image.

    Args:
        image_shape: (channels, height, width); height and width at least 11.
        num_classes: number of class capsules.
        primary_dim: dimensions of a primary capsule; it divides 128.
        class_dim: dimensions of a class capsule.
        decoder: auto, dense, convolutional or light, see `decoder.py`.
        dropout: probability of dropping a unit of the decoder's hidden layers in training.
        routing: makes the routing from primary to class capsules, see `build_routing`.

    Raises:
        ValueError: the image is too small for the convolutions, or a value is out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        primary_dim: int = 8,
        class_dim: int = 16,
        decoder: str = "auto",
        dropout: float = 0.0,
        routing: Any = AttentionRouting,
    ):
        super().__init__()
        channels, height, width = image_shape
        rows, columns = stem_side(height), stem_side(width)
        if rows < 1 or columns < 1:
            raise ValueError(f"images of {height}x{width} pixels are too small: the convolutions need at least 11x11")
        features = STEM[-1][0]
        if features % primary_dim:
            raise ValueError(f"model.primary_dim={primary_dim}: must divide {features}, the channels of the stem")
        self.image_shape = (channels, height, width)
        layers: list[nn.Module] = []
        for out_channels, kernel, stride in STEM:
            convolution = nn.Conv2d(channels, out_channels, kernel, stride)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU(inplace=True), BatchNorm2d(out_channels, **BATCH_NORM)]
            channels = out_channels
        self.stem = channels_last(nn.Sequential(*layers))
        self.primary = WholeMapCapsules(features, rows, columns, primary_dim, usual_places=stem_side(28) ** 2)
        self.routing = build_routing(routing, features // primary_dim, primary_dim, num_classes, class_dim)
        self.decoder = DECODERS[decoder](num_classes, class_dim, self.image_shape, dropout)

    def window(self) -> Window:
        """Where each place looks of the map that the primary capsules see."""
        return window_of(reach(layer) for layer in self.stem if isinstance(layer, nn.Conv2d))
