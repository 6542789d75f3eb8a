"""A residual network whose last features are read as capsules, as in Efficient-CapsNet."""

from typing import Any

from torch import Tensor, nn

from ..routing.dynamic import DynamicRouting
from .capsule_network import CapsuleNetwork, build_routing
from .convolution import convolution
from .decoder import DECODERS
from .efficient_capsnet import WholeMapCapsules
from .layout import channels_last
from .window import Window, reach, window_of

STAGES = 3  # each has twice the channels of the one before, and half its rows and columns


class ResCapsNet(CapsuleNetwork):
    """Residual blocks (He et al. 2016, arXiv:1603.05027), primary capsules of the whole map, class capsules, decoder.

    Args:
        image_shape: (channels, height, width).
        num_classes: number of class capsules.
        width: channels of the first of three stages; the last has four times as many.
        blocks: residual blocks in a stage, of two 3x3 convolutions each.
        stride: of the first convolution, which sees every pixel: its kernel is 3x3 with 1, 5x5 with 2.
        primary_dim: dimensions of a primary capsule; it divides the channels of the last stage.
        class_dim: dimensions of a class capsule.
        decoder: auto, dense, convolutional or light, see `decoder.py`.
        dropout: probability of dropping a unit of the decoder's hidden layers in training.
        routing: makes the routing from primary to class capsules, see `build_routing`.

    Raises:
        ValueError: a value is out of range.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        width: int = 32,
        blocks: int = 2,
        stride: int = 1,
        primary_dim: int = 8,
        class_dim: int = 16,
        decoder: str = "auto",
        dropout: float = 0.0,
        routing: Any = DynamicRouting,
    ):
        super().__init__()
        channels, rows, columns = self.image_shape = tuple(image_shape)
        features = width * 2 ** (STAGES - 1)
        if features % primary_dim:
            raise ValueError(f"model.primary_dim={primary_dim}: must divide {features}, four times model.width")
        layers: list[nn.Module] = [convolution(channels, width, kernel=2 * stride + 1, stride=stride)]
        channels, rows, columns = width, -(-rows // stride), -(-columns // stride)
        for stage in range(STAGES):
            for block in range(blocks):
                halving = 2 if stage and not block else 1
                layers.append(ResidualBlock(channels, width * 2**stage, halving))
                channels, rows, columns = width * 2**stage, -(-rows // halving), -(-columns // halving)
        layers += [nn.BatchNorm2d(features), nn.ReLU(inplace=True)]
        self.stem = channels_last(nn.Sequential(*layers))
        self.primary = WholeMapCapsules(features, rows, columns, primary_dim, usual_places=7 * 7)
        self.routing = build_routing(routing, features // primary_dim, primary_dim, num_classes, class_dim)
        self.decoder = DECODERS[decoder](num_classes, class_dim, self.image_shape, dropout)

    def window(self) -> Window:
        """Where each place looks of the map that the primary capsules see, without the shortcuts."""
        first, *others = self.stem
        blocks = [block.residual for block in others if isinstance(block, ResidualBlock)]
        convolutions = [layer for residual in blocks for layer in residual if isinstance(layer, nn.Conv2d)]
        return window_of(map(reach, (first, *convolutions)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after batch normalization and ReLU, beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True))
        self.residual = nn.Sequential(
            convolution(in_channels, out_channels, kernel=3, stride=stride),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            convolution(out_channels, out_channels, kernel=3),
        )
        keeps_shape = in_channels == out_channels and stride == 1
        self.shortcut = None if keeps_shape else convolution(in_channels, out_channels, kernel=1)
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, height / stride, width / stride], rounded up."""
        activated = self.activation(features)
        # Places are left out before the convolution: with a stride of its own, oneDNN crashes on few channels.
        beside = features if self.shortcut is None else self.shortcut(activated[..., :: self.stride, :: self.stride])
        return self.residual(activated) + beside
