"""A plugin: the trunk of the matrix capsules with plain convolutions and pooling in place of capsules, the control."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from torch.nn import functional as F

from capsnet import Output, setting


class PlainTrunk(nn.Module):
    """The same first convolution; 3x3 convolutions of the same strides; the mean over the map; classes."""

    def __init__(self, image_shape, num_classes, conv_channels, width):
        super().__init__()
        channels = image_shape[0]
        layers = [nn.Conv2d(channels, conv_channels, 5, 3, bias=False), nn.BatchNorm2d(conv_channels), nn.ReLU()]
        for before, stride in ((conv_channels, 2), (width, 1)):
            layers += [nn.Conv2d(before, width, 3, stride, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
        self.padding = tuple(-(side - 5) % 6 for side in image_shape[1:])

    def forward(self, images, labels=None):
        below, right = self.padding
        return Output(self.layers(F.pad(images, (0, right, 0, below))))


@dataclass
class Plain:
    """Convolutions and pooling in place of capsules."""

    capsules = False
    suits: ClassVar = {"routing": "none", "loss": "cross_entropy"}

    conv_channels: int = setting(64, "channels of the first convolution", at_least=1)
    width: int = setting(58, "channels of the other two", at_least=1)

    def build(self, image_shape, num_classes, routing):
        return PlainTrunk(image_shape, num_classes, **vars(self))


OPTIONS = {"model": {"plain_trunk": Plain}}
