"""The networks."""

from dataclasses import dataclass
from typing import Any

from .setting import setting


@dataclass
class CapsNet:
    """The network of Sabour, Frosst & Hinton (2017)."""

    conv_channels: int = setting(256, "channels of the first convolution", at_least=1)
    primary_capsules: int = setting(32, "types of primary capsules", at_least=1)
    primary_dim: int = setting(8, "dimensions of a primary capsule", at_least=1)
    class_dim: int = setting(16, "dimensions of a class capsule", at_least=1)
    dropout: float = setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.capsnet import CapsNet

        return CapsNet(image_shape, num_classes, routing=routing, **vars(self))


OPTIONS = {"capsnet": CapsNet}
