"""The decoder of a capsule network: it draws an image from one class capsule."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

HIDDEN_UNITS = (512, 1024)  # Sabour et al. 2017, figure 2


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


def masked(capsules: Tensor, labels: Tensor) -> Tensor:
    """The capsules [batch, classes, dim] of `labels` [batch], or weighted by class probabilities [batch, classes].

    Returns:
        [batch, classes * dim], 0 for all other capsules.
    """
    weights = labels if labels.is_floating_point() else F.one_hot(labels, capsules.shape[1])
    return (capsules * weights.to(capsules.dtype).unsqueeze(-1)).flatten(1)
