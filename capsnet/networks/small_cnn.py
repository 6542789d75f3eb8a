"""A small modern convolutional network: as many parameters as Efficient-CapsNet's encoder, so a fair opponent."""

from torch import Tensor, nn

from ..output import Output
from .convolution import convolution
from .layout import channels_last

BLOCKS = ((32, 32), (64, 64), (128,))  # channels of 3x3 convolutions; each block but the last ends with pooling
HEAD_UNITS = 160


class SmallCNN(nn.Sequential):
    """3x3 convolutions with batch normalization, pooling, and the mean over the map. 161,578 parameters at 28x28x1.

    Args:
        image_shape: (channels, height, width); height and width at least 4.
        num_classes: number of classes.
        dropout: probability of dropping a unit before the classes in training.

    Raises:
        ValueError: the image is too small.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.1):
        super().__init__(*trunk(image_shape), nn.Dropout(dropout), nn.Linear(HEAD_UNITS, num_classes))
        channels_last(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        """[batch, *image_shape], values in [0, 1] -> scores [batch, classes], logits."""
        return Output(super().forward(images))


def trunk(image_shape: tuple[int, int, int]) -> list[nn.Module]:
    """The layers from images to features, [batch, HEAD_UNITS]. Raises ValueError if the images are too small."""
    channels, height, width = image_shape
    if min(height, width) < 4:
        raise ValueError(f"images of {height}x{width} pixels are too small: two poolings need at least 4x4")
    layers: list[nn.Module] = []
    for block in BLOCKS:
        for out_channels in block:
            layers += _layers(channels, out_channels, kernel=3)
            channels = out_channels
        if block is not BLOCKS[-1]:
            layers.append(nn.MaxPool2d(2))
    return [*layers, *_layers(channels, HEAD_UNITS, kernel=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _layers(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    return [convolution(in_channels, out_channels, kernel), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
