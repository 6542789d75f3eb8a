"""The convolutional network that Sabour, Frosst & Hinton (2017, section 5) compare CapsNet with."""

from torch import Tensor, nn

from ..output import Output

CONVOLUTIONS = (256, 256, 128)  # channels
KERNEL = 5
HIDDEN_UNITS = (328, 192)


class CNN(nn.Sequential):
    """Three convolutions and two hidden layers, each with ReLU, then dropout and the classes.

    The paper gives 35.4 M parameters for 28x28 images. Its description has 35,445,522 with padding that keeps the size
    of the maps, and 13.3 M without. So padding it is.

    Args:
        image_shape: (channels, height, width).
        num_classes: number of classes.
        dropout: probability of dropping a unit of the last hidden layer in training.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int, dropout: float = 0.5):
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for out_channels in CONVOLUTIONS:
            layers += [nn.Conv2d(channels, out_channels, KERNEL, padding=KERNEL // 2), nn.ReLU(inplace=True)]
            channels = out_channels
        units = channels * height * width
        layers.append(nn.Flatten())
        for out_units in HIDDEN_UNITS:
            layers += [nn.Linear(units, out_units), nn.ReLU(inplace=True)]
            units = out_units
        super().__init__(*layers, nn.Dropout(dropout), nn.Linear(units, num_classes))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        """[batch, *image_shape], values in [0, 1] -> scores [batch, classes], logits."""
        return Output(super().forward(images))
