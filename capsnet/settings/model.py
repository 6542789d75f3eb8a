"""The networks. A class that says `capsules = True` needs a routing, one with `capsules = False` cannot use any.
One that says `matrices = True` needs a routing of capsules with a pose and an activation.

`suits` is the training that suits a network, unless you choose otherwise.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from .setting import setting

DECODER = (
    "what draws the images. dense: two hidden layers, as in the paper; convolutional: fewer parameters;"
    " light: that with half the channels; auto: dense up to 64x64 pixels"
)
CONV_STRIDE = (
    "stride of the first convolution; null: what suits the images' size: 1 below 45 pixels, 2 below 63, 3 below 81"
)
DECODERS = ("auto", "dense", "convolutional", "light")
WITHOUT_CAPSULES = {"loss": "cross_entropy"}


@dataclass
class CapsNet:
    """The network of Sabour, Frosst & Hinton (2017)."""

    capsules = True
    suits: ClassVar = {"optimizer.lr": 0.004, "optimizer.warmup_epochs": 1}

    conv_channels: int = setting(256, "channels of the first convolution", at_least=1)
    conv_stride: int | None = setting(1, CONV_STRIDE, at_least=1, at_most=9)
    primary_capsules: int = setting(32, "types of primary capsules", at_least=1)
    primary_dim: int = setting(8, "dimensions of a primary capsule", at_least=1)
    class_dim: int = setting(16, "dimensions of a class capsule", at_least=1)
    decoder: str = setting("auto", DECODER, one_of=DECODERS)
    dropout: float = setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)
    divide_primary: bool = setting(
        False, "divide the primary capsules' convolution by the number of their types, as the authors' code does"
    )
    first_weights: str = setting(
        "scaled",
        "scaled: as suits the sizes of the layers; authors: truncated normal, 0.05 in the first convolution and 0.1"
        " elsewhere, with biases of 0.1",
        one_of=("scaled", "authors"),
    )

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.capsnet import CapsNet

        return CapsNet(image_shape, num_classes, routing=routing, **vars(self))


@dataclass
class SmallCapsNet(CapsNet):
    """CapsNet with a quarter of the channels, and a stride that suits the images' size: for images of your own."""

    conv_channels: int = setting(64, "channels of the first convolution", at_least=1)
    conv_stride: int | None = setting(None, CONV_STRIDE, at_least=1, at_most=9)
    primary_capsules: int = setting(8, "types of primary capsules", at_least=1)


@dataclass
class EfficientCapsNet:
    """Efficient-CapsNet (Mazzia, Salvetti & Chiaberge 2021)."""

    capsules = True
    suits: ClassVar = {"routing": "attention", "optimizer.lr": 0.016}

    primary_dim: int = setting(8, "dimensions of a primary capsule; it divides 128", at_least=1, at_most=128)
    class_dim: int = setting(16, "dimensions of a class capsule", at_least=1)
    decoder: str = setting("auto", DECODER, one_of=DECODERS)
    dropout: float = setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.efficient_capsnet import EfficientCapsNet

        return EfficientCapsNet(image_shape, num_classes, routing=routing, **vars(self))


@dataclass
class ResCapsNet:
    """A residual network (He et al. 2016) whose last features are read as capsules, as in Efficient-CapsNet."""

    capsules = True
    suits: ClassVar = {"optimizer.lr": 0.008}

    width: int = setting(32, "channels of the first of three stages; the last has four times as many", at_least=1)
    blocks: int = setting(2, "residual blocks in a stage, of two convolutions each", at_least=1)
    stride: int = setting(
        1,
        "of the first convolution; with 2, all maps are half as high and wide, so a step is faster",
        at_least=1,
        at_most=4,
    )
    primary_dim: int = setting(8, "dimensions of a primary capsule; it divides four times the width", at_least=1)
    class_dim: int = setting(16, "dimensions of a class capsule", at_least=1)
    decoder: str = setting("auto", DECODER, one_of=DECODERS)
    dropout: float = setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.res_capsnet import ResCapsNet

        return ResCapsNet(image_shape, num_classes, routing=routing, **vars(self))


@dataclass
class PooledCapsNet:
    """Convolutions, and capsules of the places where they are longest: for images of your own."""

    capsules = True
    suits: ClassVar = {"optimizer.lr": 0.004, "optimizer.warmup_epochs": 1}

    features: int = setting(160, "channels of the last convolution", at_least=1)
    primary_dim: int = setting(8, "dimensions of a primary capsule; it divides the features", at_least=1)
    class_dim: int = setting(16, "dimensions of a class capsule", at_least=1)
    decoder: str = setting("convolutional", DECODER, one_of=DECODERS)
    dropout: float = setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.pooled_capsnet import PooledCapsNet

        return PooledCapsNet(image_shape, num_classes, routing=routing, **vars(self))


@dataclass
class MatrixCapsNet:
    """Capsules with a pose and an activation (Hinton, Sabour & Frosst 2018), for all routings of these."""

    capsules = True
    matrices = True
    suits: ClassVar = {"routing": "em", "loss": "spread", "optimizer.lr": 0.004}

    conv_channels: int = setting(64, "channels of the convolution, A of the paper", at_least=1)
    conv_stride: int = setting(3, "stride of the convolution; the papers' is 2", at_least=1)
    primary_capsules: int = setting(8, "types of primary capsules, B of the paper", at_least=1)
    first_capsules: int = setting(16, "types of the first convolutional capsules, C of the paper", at_least=1)
    second_capsules: int = setting(16, "types of the second convolutional capsules, D of the paper", at_least=1)
    batch_norm: bool = setting(
        True, "normalize features and primary capsules, as Ribeiro et al. do; Hinton et al. do not"
    )
    pad: bool = setting(
        True, "add zeros below and on the right so that the strides leave out no row or column; the papers have none"
    )
    coordinates: bool = setting(True, "add places to the votes for class capsules")
    decoder: str | None = setting(None, f"{DECODER}; null: nothing is drawn", one_of=DECODERS)
    dropout: float = setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.matrix_capsnet import MatrixCapsNet

        return MatrixCapsNet(image_shape, num_classes, routing=routing, **vars(self))


@dataclass
class CNN:
    """The convolutional baseline of Sabour, Frosst & Hinton (2017, section 5)."""

    capsules = False
    suits: ClassVar = WITHOUT_CAPSULES | {"optimizer.lr": 0.001, "optimizer.warmup_epochs": 1}

    dropout: float = setting(0.5, "dropout on the last hidden layer", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.cnn import CNN

        return CNN(image_shape, num_classes, **vars(self))


@dataclass
class SmallCNN:
    """A convolutional network with as many parameters as Efficient-CapsNet's encoder, and batch normalization."""

    capsules = False
    suits: ClassVar = WITHOUT_CAPSULES | {"optimizer.lr": 0.016}

    dropout: float = setting(0.1, "dropout before the classes", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.small_cnn import SmallCNN

        return SmallCNN(image_shape, num_classes, **vars(self))


@dataclass
class CapsuleLossCNN:
    """The small CNN with squash, margin loss and a decoder, but no routing (Gu, Tresp & Hu 2021)."""

    capsules = False
    suits: ClassVar = {"optimizer.lr": 0.016}

    class_dim: int = setting(16, "dimensions of the vector of a class", at_least=1)
    decoder: str = setting("dense", DECODER, one_of=DECODERS)
    dropout: float = setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.capsule_loss_cnn import CapsuleLossCNN

        return CapsuleLossCNN(image_shape, num_classes, **vars(self))


@dataclass
class ResNet18:
    """ResNet-18 (He et al. 2016), with the usual stem for small images."""

    capsules = False
    suits: ClassVar = WITHOUT_CAPSULES | {"optimizer.lr": 0.001, "optimizer.warmup_epochs": 1}

    def build(self, image_shape: tuple[int, int, int], num_classes: int, routing: Any):
        from ..networks.resnet18 import ResNet18

        return ResNet18(image_shape, num_classes)


OPTIONS = {
    "capsnet": CapsNet,
    "small_capsnet": SmallCapsNet,
    "efficient_capsnet": EfficientCapsNet,
    "res_capsnet": ResCapsNet,
    "pooled_capsnet": PooledCapsNet,
    "matrix_capsnet": MatrixCapsNet,
    "cnn": CNN,
    "small_cnn": SmallCNN,
    "capsule_loss_cnn": CapsuleLossCNN,
    "resnet18": ResNet18,
}
