"""Convolutions as networks with batch normalization have them."""

from torch import nn


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """For ReLU (He et al. 2015), without bias. With an odd kernel and stride 1, it keeps height and width."""
    built = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(built.weight, nonlinearity="relu")
    return built
