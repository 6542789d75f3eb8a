"""Normalization of what a network sees, by numbers of the training images that stay in its weights."""

import torch
from torch import Tensor, nn

AS_THEY_ARE = {"input_center": 0.0, "input_spread": 1.0}
"""The buffers of `offer_normalization`, and their values with which a network sees images as they are."""


def offer_normalization(network: nn.Module, channels: int) -> None:
    """Let the first convolution of a network see images minus a center, divided by a spread, both of each channel.

    They are buffers of the convolution, saved with the weights: at first 0 and 1, until `set_normalization`. Padding is
    then the center's color, not black. Everything else sees images as they are, and draws them as they are.

    Raises:
        ValueError: the network has no convolution that sees the images.
    """
    first = _first_convolution(network, channels)
    for name, value in AS_THEY_ARE.items():
        first.register_buffer(name, torch.full((channels, 1, 1), value))
    first.register_forward_pre_hook(_normalized)


def set_normalization(network: nn.Module, center: Tensor, spread: Tensor) -> None:
    """Set the numbers of the training images, [channels] each; see `offer_normalization`."""
    first = _first_convolution(network, len(center))
    first.input_center.copy_(center[:, None, None])
    first.input_spread.copy_(spread[:, None, None])


def is_normalized(network: nn.Module, channels: int) -> bool:
    """Have its numbers been set?"""
    first = _first_convolution(network, channels)
    return bool((first.input_center != 0).any() or (first.input_spread != 1).any())


def _first_convolution(network: nn.Module, channels: int) -> nn.Conv2d:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            if layer.in_channels != channels:
                break
            return layer
    raise ValueError("data.normalize: the network has no convolution that sees the images")


def _normalized(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    images, *others = inputs
    return ((images - layer.input_center) / layer.input_spread, *others)
