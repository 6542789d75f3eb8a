"""The decoders of capsule networks: they draw an image from one class capsule."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from ..output import one_hot

HIDDEN_UNITS = (512, 1024)  # Sabour et al. 2017, figure 2
FIRST_UNITS = 256  # of the convolutional decoder
LARGEST_START = 8  # its first map has at most so many rows and columns
LARGEST_DENSE = 3 * 64 * 64  # pixels times channels
MAP_CHANNELS = (64, 32, 16)
LIGHT_CHANNELS = (32, 16, 8)  # a quarter of the products


class Decoder(nn.Sequential):
    """Draws an image from one class capsule, with two hidden layers.

    Dropout acts on the hidden layers, after the ReLU. It keeps the decoder from memorizing images; reconstruction
    is only there to regularize. It does not act on capsules: dropping single numbers of a vector would change its
    direction and length, which are what a capsule says.

    Args:
        num_classes, class_dim: number and dimensions of the class capsules.
        image_shape: (channels, height, width) of the images to draw.
        dropout: probability of dropping a unit of the hidden layers in training.
    """

    def __init__(self, num_classes: int, class_dim: int, image_shape: tuple[int, int, int], dropout: float = 0.0):
        first, second = HIDDEN_UNITS
        super().__init__(
            nn.Linear(num_classes * class_dim, first),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(first, second),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(second, math.prod(image_shape)),
            nn.Sigmoid(),
        )
        self.image_shape = image_shape

    def forward(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """Draw the capsule of `labels` [batch] out of `capsules` [batch, classes, dim]; the others are masked.

        Class probabilities as `labels`, [batch, classes], weight the capsules instead.

        Returns:
            [batch, *image_shape], in [0, 1].
        """
        return super().forward(masked(capsules, labels)).unflatten(1, self.image_shape)


class ConvolutionalDecoder(nn.Sequential):
    """Draws an image from one class capsule: a small map of features, doubled until it is as large as the image.

    Each doubling is a 3x3 convolution whose channels become 2x2 pixels (Shi et al. 2016, arXiv:1609.05158), which is
    cheaper than a convolution of the larger map. At 28x28 pixels and ten classes, it has two thirds of the parameters
    of `Decoder`.

    Args:
        num_classes, class_dim: number and dimensions of the class capsules.
        image_shape: (channels, height, width) of the images to draw.
        dropout: probability of dropping a hidden unit, or a whole channel of a map, in training.
        map_channels: of the first map, and after each doubling; all further ones have the last number.
    """

    def __init__(
        self,
        num_classes: int,
        class_dim: int,
        image_shape: tuple[int, int, int],
        dropout: float = 0.0,
        map_channels: tuple[int, ...] = MAP_CHANNELS,
    ):
        channels, height, width = image_shape
        doublings = max(1, math.ceil(math.log2(max(height, width) / LARGEST_START)))
        rows, columns = (math.ceil(side / 2**doublings) for side in (height, width))
        layers: list[nn.Module] = [
            *(nn.Linear(num_classes * class_dim, FIRST_UNITS), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(nn.Linear(FIRST_UNITS, map_channels[0] * rows * columns), nn.ReLU(inplace=True)),
            *(nn.Unflatten(1, (map_channels[0], rows, columns)), nn.Dropout2d(dropout)),
        ]
        before = map_channels[0]
        for number in range(1, doublings + 1):
            after = map_channels[min(number, len(map_channels) - 1)]
            layers += [nn.Conv2d(before, 4 * after, 3, padding=1), nn.PixelShuffle(2), nn.ReLU(inplace=True)]
            before = after
        super().__init__(*layers, nn.Conv2d(before, channels, 3, padding=1), nn.Sigmoid())
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        self.height, self.width = height, width

    @property
    def is_new(self) -> bool:
        """Has it not been trained yet, and not been told how to begin?"""
        return not self[-2].bias.any()

    @torch.no_grad()
    def begin_with(self, color: Tensor) -> None:
        """Draw at first one color, [channels] in [0, 1], whatever the capsules are: the mean of the images to be drawn.

        A decoder that begins with gray learns the ground of the images before all else. If that is white or black, all
        weights push the same way, until the sigmoid is so near 1 or 0 that no gradient is left.
        """
        last = self[-2]
        last.weight.zero_()
        last.bias.copy_(torch.logit(color, eps=0.01))

    def forward(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """As of `Decoder`."""
        drawn = super().forward(masked(capsules, labels))
        top, left = (drawn.shape[2] - self.height) // 2, (drawn.shape[3] - self.width) // 2
        return drawn[:, :, top : top + self.height, left : left + self.width]


def suitable_decoder(
    num_classes: int, class_dim: int, image_shape: tuple[int, int, int], dropout: float = 0.0
) -> nn.Module:
    """`Decoder` up to 64x64 pixels in color, `ConvolutionalDecoder` for larger images.

    There, `Decoder` would have most of a network's weights: 805 million at 512x512 pixels in color.
    """
    suitable = Decoder if math.prod(image_shape) <= LARGEST_DENSE else ConvolutionalDecoder
    return suitable(num_classes, class_dim, image_shape, dropout)


DECODERS = {
    "auto": suitable_decoder,
    "dense": Decoder,
    "convolutional": ConvolutionalDecoder,
    "light": partial(ConvolutionalDecoder, map_channels=LIGHT_CHANNELS),
}


def masked(capsules: Tensor, labels: Tensor) -> Tensor:
    """The capsules [batch, classes, dim] of `labels` [batch], or weighted by class probabilities [batch, classes].

    Returns:
        [batch, classes * dim], 0 for all other capsules.
    """
    weights = labels if labels.is_floating_point() else one_hot(labels, capsules.shape[1])
    return (capsules * weights.to(capsules.dtype).unsqueeze(-1)).flatten(1)
