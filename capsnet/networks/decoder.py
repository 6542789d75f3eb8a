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
        self.num_classes, self.image_shape = num_classes, image_shape

    def forward(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """Draw the capsule of `labels` [batch] out of `capsules` [batch, classes, dim]; the others are masked.

        Returns:
            [batch, *image_shape], in [0, 1].
        """
        mask = F.one_hot(labels, self.num_classes).to(capsules.dtype)
        return super().forward((capsules * mask.unsqueeze(-1)).flatten(1)).unflatten(1, self.image_shape)
