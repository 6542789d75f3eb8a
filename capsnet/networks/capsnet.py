"""The capsule network of Sabour, Frosst & Hinton (2017, arXiv:1710.09829): encoder, class capsules, decoder."""

import math
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..routing.dynamic import DynamicRouting
from ..routing.squash import squash
from .capsule_network import CapsuleNetwork, build_routing
from .decoder import DECODERS
from .window import Window, reach, window_of

KERNEL = 9  # both convolutions, section 4 of the paper
PRIMARY_STRIDE = 2
PAPERS_GRID = 6  # rows and columns of primary capsules at 28x28 pixels
LEAST_MAP = KERNEL + PRIMARY_STRIDE * (PAPERS_GRID - 1)  # rows and columns of the first map that give them
LARGEST_STRIDE = KERNEL  # of the first convolution


def suitable_stride(height: int, width: int) -> int:
    """The largest stride of the first convolution that leaves as many primary capsules as the paper has, or more.

    1 for the paper's 28x28 pixels, 2 from 45x45 on, 3 from 63x63 on; 9 is the most, so that no pixel is passed over.
    """
    return min(LARGEST_STRIDE, max(1, (min(height, width) - KERNEL) // (LEAST_MAP - 1)))


def suitable_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that images are shrunk to before the first convolution, where even the largest stride would
    leave more primary capsules than the paper has."""
    if min(height, width) <= KERNEL + (LARGEST_STRIDE + 1) * (LEAST_MAP - 1) - 1:
        return height, width
    share = (KERNEL + LARGEST_STRIDE * (LEAST_MAP - 1)) / min(height, width)
    return round(height * share), round(width * share)


def primary_grid(height: int, width: int, conv_stride: int = 1) -> tuple[int, int]:
    """Rows and columns of primary capsules that the two convolutions leave of an image.

    Raises:
        ValueError: the image is too small for them.
    """
    rows, columns = (((side - KERNEL) // conv_stride + 1 - KERNEL) // PRIMARY_STRIDE + 1 for side in (height, width))
    if rows < 1 or columns < 1:
        least = KERNEL + (KERNEL - 1) * conv_stride
        raise ValueError(
            f"images of {height}x{width} pixels are too small: two {KERNEL}x{KERNEL} convolutions"
            f" need at least {least}x{least}"
        )
    return rows, columns


class PrimaryCapsules(nn.Module):
    """A strided convolution whose channels are read as capsules: `dim` channels at one position make one capsule.

    Args:
        in_channels: of the features.
        types, dim: types of capsules, and their dimensions.
        divide: divide what the convolution gives by the number of types, before the bias is added. This is one pass of
            uniform routing over the types, which the paper's authors have here.
    """

    def __init__(self, in_channels: int, types: int, dim: int, divide: bool = False):
        super().__init__()
        self.dim, self.divisor = dim, types if divide else 1
        self.conv = nn.Conv2d(in_channels, types * dim, KERNEL, PRIMARY_STRIDE)
        # Unit gain: on features of order one, squash then sees vectors of length about sqrt(dim) at most.
        nn.init.normal_(self.conv.weight, std=1 / math.sqrt(self.conv.weight[0].numel()))
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, types * rows * columns, dim], lengths in [0, 1)."""
        channels = self.conv(features)
        if self.divisor != 1:  # not the bias
            channels = (channels - self.conv.bias[:, None, None]) / self.divisor + self.conv.bias[:, None, None]
        capsules = channels.unflatten(1, (-1, self.dim)).movedim(2, -1)  # [batch, types, rows, columns, dim]
        return squash(capsules.flatten(1, 3))

    def grid(self, features: Tensor) -> tuple[int, int]:
        """Rows and columns of the places; the capsules are numbered type by type, and of a type row by row."""
        rows, columns = (1 + (side - KERNEL) // PRIMARY_STRIDE for side in features.shape[2:])
        return rows, columns


class CapsNet(CapsuleNetwork):
    """Images to class capsules, and from one of them back to an image.

    Args:
        image_shape: (channels, height, width); height and width at least 17.
        num_classes: number of class capsules.
        conv_channels: channels of the first convolution.
        conv_stride: stride of the first convolution. The paper's is 1; a larger one keeps the network small on images
            larger than the paper's 28x28; it is at most 9, the kernel, or pixels between would not be looked at. None:
            `suitable_stride`, and images of more than 188 pixels are first shrunk to `suitable_size`, by means.
        primary_capsules: types of primary capsules; each position of the grid holds one of every type.
        primary_dim: dimensions of a primary capsule.
        class_dim: dimensions of a class capsule.
        decoder: auto, dense, convolutional or light, see `decoder.py`.
        dropout: probability of dropping a unit of the decoder's hidden layers in training (see `Decoder`).
        divide_primary: see `PrimaryCapsules`.
        first_weights: "scaled", or "authors", see `use_authors_first_weights`.
        routing: makes the routing from primary to class capsules, see `build_routing`.
        routing_iters: its iterations, of a routing class that has them; None: as many as it has by itself.

    Raises:
        ValueError: the image is too small for the two convolutions, or a value is out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        conv_channels: int = 256,
        conv_stride: int | None = 1,
        primary_capsules: int = 32,
        primary_dim: int = 8,
        class_dim: int = 16,
        decoder: str = "auto",
        dropout: float = 0.0,
        divide_primary: bool = False,
        first_weights: str = "scaled",
        routing: Any = DynamicRouting,
        routing_iters: int | None = None,
    ):
        super().__init__()
        if routing_iters is not None:
            routing = partial(routing, iters=routing_iters)
        channels, height, width = image_shape
        if conv_stride is not None and conv_stride > KERNEL:
            raise ValueError(
                f"model.conv_stride={conv_stride}: passes over pixels, since the kernel has {KERNEL}x{KERNEL}; set null"
            )
        self.image_shape = (channels, height, width)
        self.shrunk_to = (height, width) if conv_stride else suitable_size(height, width)
        conv_stride = conv_stride or suitable_stride(height, width)
        rows, columns = primary_grid(*self.shrunk_to, conv_stride)
        self.conv = nn.Conv2d(channels, conv_channels, KERNEL, conv_stride)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)
        self.primary = PrimaryCapsules(conv_channels, primary_capsules, primary_dim, divide_primary)
        in_caps = primary_capsules * rows * columns
        self.routing = build_routing(routing, in_caps, primary_dim, num_classes, class_dim)
        self.decoder = DECODERS[decoder](num_classes, class_dim, self.image_shape, dropout)
        if first_weights == "authors":
            use_authors_first_weights(self)

    def encode(self, images: Tensor) -> Tensor:
        """[batch, *image_shape] -> class capsules [batch, classes, class_dim]."""
        if self.shrunk_to != images.shape[2:]:
            images = F.adaptive_avg_pool2d(images, self.shrunk_to)
        return self.routing(self.primary(F.relu(self.conv(images), inplace=True)))

    def window(self) -> Window:
        """Where each place of the primary capsules looks."""
        in_shrunk = window_of(map(reach, (self.conv, self.primary.conv)))
        return in_shrunk.scaled(self.image_shape[1] / self.shrunk_to[0])


def use_authors_first_weights(network: CapsNet) -> None:
    """Draw all weights as the paper's authors do.

    Truncated at two deviations, these are 0.05 in the first convolution and 0.1 elsewhere, the decoder included; all
    biases are 0.1 (Sarasra/models, research/capsules, models/layers).
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.constant_(parameter, 0.1)
        elif name.endswith("weight"):
            std = 0.05 if name == "conv.weight" else 0.1
            nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
