"""A CNN with the losses of a capsule network, but no capsule layer and no routing: the control of Gu, Tresp & Hu."""

import math

from torch import Tensor, nn

from ..routing.squash import squash
from .capsule_network import CapsuleNetwork
from .decoder import DECODERS
from .layout import channels_last
from .small_cnn import HEAD_UNITS, trunk


class CapsuleLossCNN(CapsuleNetwork):
    """The layers of `SmallCNN`, then one linear map to a vector for each class, squashed; its length is the score.

    Gu, Tresp & Hu (2021, arXiv:2103.15459) gave a CNN what a capsule network has beside its capsules: squash, the
    margin loss, and a decoder that draws the vector of one class. What this network can do needs no routing.

    Args:
        image_shape: (channels, height, width); height and width at least 4.
        num_classes: number of classes.
        class_dim: dimensions of the vector of a class.
        decoder: auto, dense, convolutional or light, see `decoder.py`.
        dropout: probability of dropping a unit of the decoder's hidden layers in training.

    Raises:
        ValueError: the image is too small.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        class_dim: int = 16,
        decoder: str = "dense",
        dropout: float = 0.0,
    ):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.class_dim = class_dim
        self.trunk = channels_last(nn.Sequential(*trunk(image_shape)))
        self.vectors = nn.Linear(HEAD_UNITS, num_classes * class_dim)
        nn.init.normal_(self.vectors.weight, std=1 / math.sqrt(HEAD_UNITS))
        nn.init.zeros_(self.vectors.bias)
        self.decoder = DECODERS[decoder](num_classes, class_dim, self.image_shape, dropout)

    def encode(self, images: Tensor) -> Tensor:
        """[batch, *image_shape] -> a vector for each class, [batch, classes, class_dim], lengths in [0, 1)."""
        return squash(self.vectors(self.trunk(images)).unflatten(1, (-1, self.class_dim)))
