"""The capsule network of Sabour, Frosst & Hinton (2017, arXiv:1710.09829): encoder, class capsules, decoder."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ModelConfig, RoutingConfig
from .routing import ROUTINGS, squash

KERNEL = 9  # both convolutions, section 4 of the paper
PRIMARY_STRIDE = 2
DECODER_UNITS = (512, 1024)
CLASS_GAIN = 0.7  # scale of the class capsules' initial weights, see ClassCapsules


class CapsNetOutput(NamedTuple):
    """What a CapsNet says about a batch of images."""

    capsules: Tensor
    """Class capsules, [batch, classes, class_dim]."""
    lengths: Tensor
    """Their lengths, the presence of each class, [batch, classes], in [0, 1)."""
    reconstruction: Tensor
    """Images drawn by the decoder from one capsule each, [batch, *image_shape], in [0, 1]."""


def primary_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of primary capsules that the two convolutions leave of an image.

    Raises:
        ValueError: the image is too small for them.
    """
    rows, columns = ((side - 2 * (KERNEL - 1) - 1) // PRIMARY_STRIDE + 1 for side in (height, width))
    if rows < 1 or columns < 1:
        least = 2 * KERNEL - 1
        raise ValueError(
            f"images of {height}x{width} pixels are too small: two {KERNEL}x{KERNEL} convolutions"
            f" need at least {least}x{least}"
        )
    return rows, columns


class PrimaryCapsules(nn.Module):
    """A strided convolution whose channels are read as capsules: `dim` channels at one position make one capsule."""

    def __init__(self, in_channels: int, types: int, dim: int):
        super().__init__()
        self.dim = dim
        self.conv = nn.Conv2d(in_channels, types * dim, KERNEL, PRIMARY_STRIDE)
        # Unit gain: on features of order one, squash then sees vectors of length about sqrt(dim) at most.
        nn.init.normal_(self.conv.weight, std=1 / math.sqrt(self.conv.weight[0].numel()))
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, types * rows * columns, dim], lengths in [0, 1)."""
        channels = self.conv(features).float()  # under autocast too: squares and roots want the digits
        capsules = channels.unflatten(1, (-1, self.dim)).movedim(2, -1)  # [batch, types, rows, columns, dim]
        return squash(capsules.flatten(1, 3))


class ClassCapsules(nn.Module):
    """One capsule per class, fed by routing from all primary capsules."""

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int, routing: str, iters: int):
        super().__init__()
        if routing not in ROUTINGS:
            raise ValueError(f"routing={routing!r}: must be one of {', '.join(ROUTINGS)}")
        if iters < 1:
            raise ValueError(f"routing_iters={iters}: routing needs at least 1 iteration")
        self.route, self.iters = ROUTINGS[routing], iters
        self.weight = nn.Parameter(torch.empty(out_caps, in_caps, in_dim, out_dim))
        # The first s_j sums in_caps predictions, each shared out 1 / out_caps. At this scale the first class capsules
        # are about 0.2 long, whatever the capsule counts. Shorter ones learn more slowly, since squash passes little
        # gradient there; at four times this scale every capsule starts near length 1, and nothing is learnt for long
        # (measured in benchmarks/RESULTS.md).
        nn.init.normal_(self.weight, std=CLASS_GAIN * out_caps / math.sqrt(in_caps * out_dim))

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim]."""
        return self.route(u, self.weight, self.iters)


class Decoder(nn.Sequential):
    """Draws an image from one class capsule.

    Dropout acts on its two hidden layers, after the ReLU. It keeps the reconstruction, which is a regulariser, from
    being learnt by heart. It does not act on capsules: dropping single numbers of a vector would change its
    direction and length, which are what a capsule says.
    """

    def __init__(self, num_classes: int, class_dim: int, pixels: int, dropout: float):
        first, second = DECODER_UNITS
        super().__init__(
            nn.Linear(num_classes * class_dim, first),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(first, second),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(second, pixels),
            nn.Sigmoid(),
        )


class CapsNet(nn.Module):
    """Images to class capsules, and from one of them back to an image.

    Args:
        image_shape: (channels, height, width); height and width at least 17.
        num_classes: number of class capsules.
        conv_channels: channels of the first convolution.
        primary_capsules: types of primary capsules; each position of the grid holds one of every type.
        primary_dim: dimensions of a primary capsule.
        class_dim: dimensions of a class capsule.
        dropout: probability of dropping a unit of the decoder's hidden layers in training (see `Decoder`).
        routing: name of the routing, a key of `capsnet.routing.ROUTINGS`.
        routing_iters: routing iterations, at least 1.

    Raises:
        ValueError: the image is too small for the two convolutions, or a value is out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        conv_channels: int = ModelConfig.conv_channels,
        primary_capsules: int = ModelConfig.primary_capsules,
        primary_dim: int = ModelConfig.primary_dim,
        class_dim: int = ModelConfig.class_dim,
        dropout: float = ModelConfig.dropout,
        routing: str = RoutingConfig.name,
        routing_iters: int = RoutingConfig.iters,
    ):
        super().__init__()
        channels, height, width = image_shape
        rows, columns = primary_grid(height, width)
        self.image_shape, self.num_classes = (channels, height, width), num_classes
        self.conv = nn.Conv2d(channels, conv_channels, KERNEL)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)
        self.primary = PrimaryCapsules(conv_channels, primary_capsules, primary_dim)
        self.classes = ClassCapsules(
            primary_capsules * rows * columns, primary_dim, num_classes, class_dim, routing, routing_iters
        )
        self.decoder = Decoder(num_classes, class_dim, math.prod(image_shape), dropout)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> CapsNetOutput:
        """Encode images into class capsules, and decode one capsule of each.

        Args:
            images: [batch, *image_shape], values in [0, 1].
            labels: [batch], the class whose capsule is decoded; None decodes the longest capsule.

        Raises:
            ValueError: the images are not of `image_shape`.
        """
        if images.shape[1:] != self.image_shape:
            raise ValueError(
                f"expected images [batch, {', '.join(map(str, self.image_shape))}], got {list(images.shape)}"
            )
        capsules = self.encode(images)
        lengths = torch.linalg.vector_norm(capsules, dim=-1)
        return CapsNetOutput(capsules, lengths, self.decode(capsules, lengths.argmax(1) if labels is None else labels))

    def encode(self, images: Tensor) -> Tensor:
        """[batch, *image_shape] -> class capsules [batch, classes, class_dim]."""
        return self.classes(self.primary(F.relu(self.conv(images), inplace=True)))

    def decode(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """Draw the capsule of `labels` [batch] out of `capsules` [batch, classes, class_dim]; the others are masked."""
        mask = F.one_hot(labels, self.num_classes).to(capsules.dtype)
        return self.decoder((capsules * mask.unsqueeze(-1)).flatten(1)).unflatten(1, self.image_shape)
