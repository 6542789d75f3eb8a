"""A capsule network for pictures in which the thing may be anywhere: capsules of the places where they are longest."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..routing.dynamic import DynamicRouting
from ..routing.squash import steep_squash
from .batch_norm import BatchNorm2d
from .capsule_network import CapsuleNetwork, build_routing
from .convolution import convolution
from .decoder import DECODERS
from .layout import channels_last
from .window import Window, reach, window_of

LARGEST_MAP = 32  # rows and columns that the halving convolutions leave at most
HALVING_CHANNELS = (16, 32)  # of the first of several halvings, and of each further one
BLOCKS = ((32,), (64, 64, 128))  # channels of 3x3 convolutions, with pooling between the blocks


class PooledCapsules(nn.Module):
    """Primary capsules of the whole map: at each place, the features are read as capsules, and each capsule is its mean
    over the places, weighted by the softmax of its lengths there. It is the same wherever a thing is, and hardly
    changes with the thing's size: places that show only ground have short capsules.

    Args:
        dim: dimensions of a capsule; it divides the channels.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def parts(self, features: Tensor) -> Tensor:
        """What each place adds to each capsule before squashing, [batch, channels / dim, dim, height, width]."""
        # Also under autocast: lengths need the precision.
        capsules = features.to(torch.promote_types(features.dtype, torch.float32)).unflatten(1, (-1, self.dim))
        lengths = torch.linalg.vector_norm(capsules, dim=2, keepdim=True)
        return capsules * lengths.flatten(3).softmax(3).view_as(lengths)

    def sums(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> capsules before squashing, [batch, channels / dim, dim]."""
        return self.parts(features).sum((3, 4))

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, channels / dim, dim], lengths in [0, 1]."""
        return steep_squash(self.sums(features))


class PooledCapsNet(CapsuleNetwork):
    """Convolutions as in `SmallCNN`, primary capsules of the whole picture, class capsules, decoder.

    Larger pictures are first halved by convolutions with stride 2, each of which sees every pixel.

    Args:
        image_shape: (channels, height, width).
        num_classes: number of class capsules.
        features: channels of the last convolution, which are read as primary capsules.
        primary_dim: dimensions of a primary capsule; it divides the features.
        class_dim: dimensions of a class capsule.
        decoder: auto, dense, convolutional or light, see `decoder.py`.
        dropout: probability of dropping a unit of the decoder's hidden layers in training.
        routing: makes the routing from primary to class capsules, see `build_routing`.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        features: int = 160,
        primary_dim: int = 8,
        class_dim: int = 16,
        decoder: str = "convolutional",
        dropout: float = 0.0,
        routing: Any = DynamicRouting,
    ):
        super().__init__()
        channels, height, width = self.image_shape = tuple(image_shape)
        if features % primary_dim:
            raise ValueError(f"model.primary_dim={primary_dim}: must divide model.features={features}")
        halvings = max(0, math.ceil(math.log2(max(height, width) / LARGEST_MAP)))
        layers: list[nn.Module] = []
        for number in range(halvings):
            out_channels = HALVING_CHANNELS[0] if number < halvings - 1 and number == 0 else HALVING_CHANNELS[1]
            layers += _layers(channels, out_channels, 3 if number else 5, stride=2)
            channels = out_channels
        if not halvings:
            layers += _layers(channels, BLOCKS[0][0], 3)
            channels = BLOCKS[0][0]
        for block in BLOCKS:
            for out_channels in block:
                layers += _layers(channels, out_channels, 3)
                channels = out_channels
            if block is not BLOCKS[-1]:
                layers.append(nn.MaxPool2d((2, 2), padding=(0, 0), ceil_mode=True))
        layers += _layers(channels, features, 1)
        self.stem = channels_last(nn.Sequential(*layers))
        self.primary = PooledCapsules(primary_dim)
        self.routing = build_routing(routing, features // primary_dim, primary_dim, num_classes, class_dim)
        self.decoder = DECODERS[decoder](num_classes, class_dim, self.image_shape, dropout)

    def window(self) -> Window:
        """Where each place looks of the map that the primary capsules see."""
        return window_of(reach(layer) for layer in self.stem if isinstance(layer, nn.Conv2d | nn.MaxPool2d))


def _layers(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    built = convolution(in_channels, out_channels, kernel, stride)
    return [built, BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
