"""ResNet-18 (He et al. 2016, arXiv:1512.03385), torchvision's, with the usual stem for small images."""

from torch import Tensor, nn
from torchvision.models import resnet18

from ..output import Output
from .layout import channels_last


class ResNet18(nn.Module):
    """The stem is one 3x3 convolution with stride 1, without max-pooling.

    Args:
        image_shape: (channels, height, width).
        num_classes: number of classes.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        self.resnet = resnet18(num_classes=num_classes)
        self.resnet.conv1 = nn.Conv2d(image_shape[0], 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.resnet.maxpool = nn.Identity()
        channels_last(self.resnet)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        """[batch, *image_shape], values in [0, 1] -> scores [batch, classes], logits."""
        return Output(self.resnet(images))
