"""A plugin: the residual trunk of ResCapsNet with heads that have no capsule layer and no routing, the controls."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from capsnet import Output, setting
from capsnet.networks.capsule_loss_cnn import CapsuleLossCNN
from capsnet.networks.capsule_network import CapsuleNetwork
from capsnet.networks.decoder import DECODERS
from capsnet.networks.res_capsnet import STAGES, ResCapsNet


def pooled(image_shape, num_classes, width, blocks, stride):
    """ResCapsNet's trunk and the mean over its last map, and how many features that has."""
    stem = ResCapsNet(image_shape, num_classes, width, blocks, stride).stem
    return nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten()), width * 2 ** (STAGES - 1)


class SoftmaxHead(nn.Module):
    """The pooled trunk, and a linear layer."""

    def __init__(self, image_shape, num_classes, **sizes):
        super().__init__()
        self.trunk, features = pooled(image_shape, num_classes, **sizes)
        self.classify = nn.Linear(features, num_classes)

    def forward(self, images, labels=None):
        return Output(self.classify(self.trunk(images)))


class VectorHead(CapsuleLossCNN):
    """`CapsuleLossCNN` behind the pooled trunk, with PyTorch's first weights."""

    def __init__(self, image_shape, num_classes, class_dim, decoder, **sizes):
        CapsuleNetwork.__init__(self)  # its parent's would make the trunk of the small CNN
        self.image_shape, self.class_dim = tuple(image_shape), class_dim
        self.trunk, features = pooled(image_shape, num_classes, **sizes)
        self.vectors = nn.Linear(features, num_classes * class_dim)
        self.decoder = DECODERS[decoder](num_classes, class_dim, self.image_shape, 0.0)


@dataclass
class ResSoftmax:
    """ResCapsNet's trunk, pooling, softmax."""

    capsules = False
    suits: ClassVar = {"routing": "none", "loss": "cross_entropy", "optimizer.lr": 0.008}

    width: int = setting(32, "channels of the first of three stages", at_least=1)
    blocks: int = setting(2, "residual blocks in a stage", at_least=1)
    stride: int = setting(1, "of the first convolution", at_least=1, at_most=4)

    def build(self, image_shape, num_classes, routing):
        return SoftmaxHead(image_shape, num_classes, **vars(self))


@dataclass
class ResVectors(ResSoftmax):
    """ResCapsNet's trunk, pooling, squashed vectors and a decoder."""

    suits: ClassVar = {"routing": "none", "optimizer.lr": 0.008}

    class_dim: int = setting(16, "dimensions of the vector of a class", at_least=1)
    decoder: str = setting("auto", "what draws the images", one_of=tuple(DECODERS))

    def build(self, image_shape, num_classes, routing):
        return VectorHead(image_shape, num_classes, **vars(self))


OPTIONS = {"model": {"res_softmax": ResSoftmax, "res_vectors": ResVectors}}
