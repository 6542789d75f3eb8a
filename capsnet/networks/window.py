"""Where the places of a feature map look in the image."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn


class Window(NamedTuple):
    """Where the places of a feature map look, in pixels of the image."""

    side: int
    start: float
    """Middle of the first place's window."""
    pitch: float
    """From one place to the next."""

    def scaled(self, scale: float) -> "Window":
        """The same in an image that is so many times larger."""
        return Window(round(self.side * scale), (self.start + 0.5) * scale - 0.5, self.pitch * scale)


def reach(layer: nn.Conv2d | nn.MaxPool2d) -> tuple[int, int, int]:
    """Kernel, stride and padding of a layer, along the rows."""
    kernel, stride, padding = (
        value if isinstance(value, int) else value[0] for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    return kernel, stride, padding


def window_of(layers: Iterable[tuple[int, int, int]]) -> Window:
    """Where each place looks of the map that several layers leave, one after another.

    Args:
        layers: kernel, stride and padding of each.
    """
    side, start, pitch = 1, 0.0, 1
    for kernel, stride, padding in layers:
        side += (kernel - 1) * pitch
        start += ((kernel - 1) / 2 - padding) * pitch
        pitch *= stride
    return Window(side, start, pitch)
