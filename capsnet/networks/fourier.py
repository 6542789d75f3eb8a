"""Convolution with large kernels through the Fourier domain: fewer multiplications, and as exact as the direct sum.

docs/performance.md derives the method. In short, for one side of an image:

1. A convolution of stride s is the sum of s convolutions of stride 1. Each takes every s-th pixel and every s-th
   weight: a phase.
2. m outputs of a phase with t weights read n = m + t - 1 pixels: a tile. On n pixels, the correlation with the weights
   is a product of discrete Fourier transforms. It wraps around only outside the m outputs, so nothing is padded.
3. Transforms of real numbers come in conjugate pairs, of which one is enough. A complex product takes three real ones.
   The sums before and after them are part of the transforms.

So y = Ty [(Tx x) ∘ (Tw w)], with three constant real matrices. In the middle stands one product of images and weights
for each bin: a real number of a transformed tile. The gradients take the same matrices.

Axes: f bin, p pixel of a tile, q output of a tile, t weight of a phase, b tile and image, c input channel, o output
channel.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..routing.votes import computing_types

MOST_OUTPUTS = 10  # of a tile along one side
TRANSFORM_COST = 2.0  # of a multiplication in a transform, against one in the products between them
WORTHWHILE = 0.8  # of the direct multiplications
BLOCK_CHANNELS = 64  # input channels that are transformed at a time


class Side(NamedTuple):
    """How the rows, or the columns, of a convolution are cut up."""

    stride: int
    kernel: int
    count: int
    """All outputs."""
    tiles: int
    outputs: int
    """Outputs of a tile."""

    @classmethod
    def cut(cls, length: int, kernel: int, stride: int) -> "Side":
        """Cut the rows, or the columns, of an image into the fewest tiles, of equal size."""
        count = (length - kernel) // stride + 1
        tiles = -(-count // MOST_OUTPUTS)
        return cls(stride, kernel, count, tiles, -(-count // tiles))

    @property
    def bins(self) -> int:
        """Pixels of a tile, and so frequencies of its transform."""
        return self.outputs + self.taps(0) - 1

    @property
    def last_pixel(self) -> int:
        """The last row or column that an output reads."""
        return (self.count - 1) * self.stride + self.kernel - 1

    @property
    def phases(self) -> range:
        return range(min(self.stride, self.kernel))

    def taps(self, phase: int) -> int:
        """Weights of a phase."""
        return -(-(self.kernel - phase) // self.stride)

    def pixels(self, phase: int) -> int:
        """Pixels that a tile reads in a phase."""
        return self.outputs + self.taps(phase) - 1


class Transforms(NamedTuple):
    """The constant matrices of a phase."""

    image: Tensor
    """Tx, [f, p]."""
    weight: Tensor
    """Tw, [f, t]."""
    output: Tensor
    """Ty, [q, f]; the same for all phases."""


@functools.lru_cache(maxsize=64)
def transforms(rows: Side, columns: Side, row_phase: int, column_phase: int, dtype: torch.dtype) -> Transforms:
    """The matrices for a phase of the rows and of the columns, computed in float64 and rounded once."""
    height, width = rows.bins, columns.bins

    def waves(row_count: int, column_count: int) -> np.ndarray:
        """The discrete Fourier transform of the first rows and columns of a tile, [frequency, pixel]."""
        down = np.exp(-2j * np.pi * np.outer(np.arange(height), np.arange(row_count)) / height)
        across = np.exp(-2j * np.pi * np.outer(np.arange(width), np.arange(column_count)) / width)
        return np.kron(down, across)

    frequencies = np.arange(height * width).reshape(height, width)
    conjugates = frequencies[-np.arange(height) % height][:, -np.arange(width) % width]
    own, paired = frequencies[frequencies == conjugates], frequencies[frequencies < conjugates]
    image = waves(rows.pixels(row_phase), columns.pixels(column_phase))
    weight = waves(rows.taps(row_phase), columns.taps(column_phase)).conj()  # a correlation: no weight is flipped
    output = waves(rows.outputs, columns.outputs).conj().T / (height * width)
    # (a + bi)(c + di) = (k1 - k3) + (k1 + k2)i, with k1 = c(a + b), k2 = a(d - c), k3 = b(c + d). Back through e + gi,
    # the real part e(k1 - k3) - g(k1 + k2) counts; twice, as the conjugate adds the same.
    a, b = image[paired].real, image[paired].imag
    c, d = weight[paired].real, weight[paired].imag
    e, g = 2 * output[:, paired].real, 2 * output[:, paired].imag
    matrices = (
        np.concatenate([image[own].real, a + b, a, b]),
        np.concatenate([weight[own].real, c, d - c, c + d]),
        np.concatenate([output[:, own].real, e - g, -g, -e], axis=1),
    )
    return Transforms(*(torch.from_numpy(np.ascontiguousarray(matrix)).to(dtype) for matrix in matrices))


class Block(NamedTuple):
    """A part of the sum over pixels and input channels that a convolution is: some channels of a phase."""

    rows: Side
    columns: Side
    row_phase: int
    column_phase: int
    channels: slice

    def transforms(self, dtype: torch.dtype) -> Transforms:
        return transforms(self.rows, self.columns, self.row_phase, self.column_phase, dtype)

    def of(self, grid: Tensor) -> Tensor:
        """What belongs to this block of images or weights, [.., channels, rows, columns], as a view."""
        return grid[:, self.channels, self.row_phase :: self.rows.stride, self.column_phase :: self.columns.stride]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of pixels that it reads of a tile."""
        return self.rows.pixels(self.row_phase), self.columns.pixels(self.column_phase)

    def cut(self, images: Tensor) -> Tensor:
        """The tiles that it reads of images [image, channel, row, column], as [p, b, c]."""
        return _cut(self.of(images), self.size, self.rows, self.columns)


def _blocks(rows: Side, columns: Side, channels: int) -> Iterator[Block]:
    starts = range(0, channels, BLOCK_CHANNELS)
    for row_phase, column_phase, start in itertools.product(rows.phases, columns.phases, starts):
        yield Block(rows, columns, row_phase, column_phase, slice(start, start + BLOCK_CHANNELS))


def _tiles(grid: Tensor, size: tuple[int, int], rows: Side, columns: Side) -> Iterator[tuple[int, int, Tensor]]:
    """Each tile's row and column among the tiles, and its part of a grid; parts at the edge may be smaller."""
    for row, column in itertools.product(range(rows.tiles), range(columns.tiles)):
        top, left = row * rows.outputs, column * columns.outputs
        yield row, column, grid[:, :, top : top + size[0], left : left + size[1]]


def _cut(grid: Tensor, size: tuple[int, int], rows: Side, columns: Side) -> Tensor:
    """Tiles of a grid [image, channel, row, column] as [pixel, tile and image, channel], zero outside the grid."""
    images, channels = grid.shape[:2]
    new = grid.new_empty if rows.tiles * columns.tiles == 1 else grid.new_zeros
    tiles = new(*size, rows.tiles, columns.tiles, images, channels)
    for row, column, part in _tiles(grid, size, rows, columns):
        tiles[: part.shape[2], : part.shape[3], row, column] = part.permute(2, 3, 0, 1)
    return tiles.view(size[0] * size[1], -1, channels)


def _paste(grid: Tensor, tiles: Tensor, size: tuple[int, int], rows: Side, columns: Side) -> None:
    """Put tiles [pixel, tile and image, channel] into a grid of zeros; where tiles overlap, they add up."""
    tiles = tiles.view(*size, rows.tiles, columns.tiles, *grid.shape[:2])
    only_one = rows.tiles * columns.tiles == 1
    for row, column, part in _tiles(grid, size, rows, columns):
        tile = tiles[: part.shape[2], : part.shape[3], row, column].permute(2, 3, 0, 1)
        part.copy_(tile) if only_one else part.add_(tile)


def _transform(matrix: Tensor, data: Tensor) -> Tensor:
    """[f, p] and [p, b, c] -> [f, b, c]."""
    return (matrix @ data.flatten(1)).view(len(matrix), *data.shape[1:])


def _new_gradient(images: Tensor, rows: Side, columns: Side) -> Tensor:
    """Memory for the gradient at images: zeros where tiles add up or leave pixels out."""
    is_covered = all(
        side.tiles == 1 and side.kernel >= side.stride and side.last_pixel == length - 1
        for side, length in ((rows, images.shape[2]), (columns, images.shape[3]))
    )
    return torch.empty_like(images) if is_covered else torch.zeros_like(images)


class _FourierConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], factor_dtype: torch.dtype) -> Tensor:
        rows, columns = (Side.cut(*side) for side in zip(images.shape[2:], weight.shape[2:], stride, strict=True))
        ctx.blocks = list(_blocks(rows, columns, images.shape[1]))
        factors: list[Tensor] = []
        products = None  # [f, b, o]
        for block in ctx.blocks:
            matrices = block.transforms(images.dtype)
            image_hat = _transform(matrices.image, block.cut(images)).to(factor_dtype)  # [f, b, c]
            taps = block.of(weight)
            weight_hat = matrices.weight @ taps.reshape(-1, matrices.weight.shape[1]).t()
            weight_hat = weight_hat.view(-1, *taps.shape[:2]).to(factor_dtype)  # [f, o, c]
            if products is None or factor_dtype != images.dtype:
                product = torch.bmm(image_hat, weight_hat.transpose(1, 2)).to(images.dtype)
                products = product if products is None else products.add_(product)
            else:
                products.baddbmm_(image_hat, weight_hat.transpose(1, 2))
            factors += (image_hat, weight_hat)
        ctx.save_for_backward(images, weight, *factors)
        outputs = images.new_zeros(len(images), rows.count, columns.count, len(weight)).permute(0, 3, 1, 2)
        _paste(outputs, _transform(matrices.output, products), (rows.outputs, columns.outputs), rows, columns)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outputs_grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight, *factors = ctx.saved_tensors
        rows, columns = ctx.blocks[0][:2]
        images_grad = _new_gradient(images, rows, columns) if ctx.needs_input_grad[0] else None
        weight_grad = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        tiles = _cut(outputs_grad, (rows.outputs, columns.outputs), rows, columns)
        products_grad = _transform(ctx.blocks[0].transforms(images.dtype).output.t(), tiles).to(factors[0].dtype)
        for block, image_hat, weight_hat in zip(ctx.blocks, factors[::2], factors[1::2], strict=True):
            matrices = block.transforms(images.dtype)
            if images_grad is not None:
                tiles = _transform(matrices.image.t(), torch.bmm(products_grad, weight_hat).to(images.dtype))
                _paste(block.of(images_grad), tiles, block.size, rows, columns)
            if weight_grad is not None:
                hat_grad = torch.bmm(products_grad.transpose(1, 2), image_hat).to(images.dtype)  # [f, o, c]
                taps_grad = block.of(weight_grad)
                taps_grad.copy_((hat_grad.flatten(1).t() @ matrices.weight).view(taps_grad.shape))
        return images_grad, weight_grad, None, None


def fourier_conv2d(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
) -> Tensor:
    """`torch.nn.functional.conv2d` through the Fourier domain.

    Fastest if images have the channels last in memory, as the result has. Under bfloat16 autocast, the transforms are
    computed in float32 and what they are multiplied with in bfloat16. The gradient cannot be differentiated again.

    Args:
        images: [batch, in_channels, height, width].
        weight: [out_channels, in_channels, kernel_height, kernel_width].
        bias: [out_channels].
        stride: of the rows and of the columns.
        padding: zeros on either side of the rows and of the columns.

    Returns:
        [batch, out_channels, rows, columns], in float32 at least.
    """
    dtype, factor_dtype = computing_types(images, weight)
    with torch.autocast(images.device.type, enabled=False):
        images = F.pad(images, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else images
        outputs = _FourierConvolution.apply(images.to(dtype), weight.to(dtype), stride, factor_dtype)
        return outputs if bias is None else outputs + bias.view(-1, 1, 1)


def multiplications(
    shape: tuple[int, ...], weight_shape: tuple[int, ...], stride: tuple[int, int]
) -> tuple[float, float]:
    """Multiplications that a convolution takes directly, and through the Fourier domain.

    Those of the transforms count `TRANSFORM_COST` times, as their matrices are small.

    Args:
        shape: of the images, padding included: (batch, in_channels, height, width).
        weight_shape: (out_channels, in_channels, kernel_height, kernel_width).
        stride: of the rows and of the columns.
    """
    rows, columns = (Side.cut(*side) for side in zip(shape[2:], weight_shape[2:], stride, strict=True))
    kernel, channel_pairs = weight_shape[2] * weight_shape[3], weight_shape[0] * weight_shape[1]
    tiles = shape[0] * rows.tiles * columns.tiles
    frequencies = rows.bins * columns.bins
    own = math.prod(2 - side.bins % 2 for side in (rows, columns))  # frequencies that are their own conjugates
    bins = own + 3 * (frequencies - own) // 2
    phases = list(itertools.product(rows.phases, columns.phases))
    pixels = sum(rows.pixels(row) * columns.pixels(column) for row, column in phases)
    transformed = pixels * tiles * shape[1] + kernel * channel_pairs
    transformed += rows.outputs * columns.outputs * tiles * weight_shape[0]
    direct = shape[0] * rows.count * columns.count * kernel * channel_pairs
    return direct, bins * (len(phases) * tiles * channel_pairs + TRANSFORM_COST * transformed)


class FourierConv2d(nn.Conv2d):
    """A convolution that goes through the Fourier domain where that is faster.

    Weights, results up to rounding, and what a checkpoint holds are those of `nn.Conv2d`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding: as of `nn.Conv2d`; padding is a number.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding)
        self.fourier = "auto"
        """auto, on or off. What is compiled or exported never goes through the Fourier domain."""
        self.went_through_fourier = False
        """Whether the last forward pass did."""

    def forward(self, images: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, rows, columns]."""
        self.went_through_fourier = self.uses_fourier(images.shape)
        if self.went_through_fourier:
            return fourier_conv2d(images, self.weight, self.bias, self.stride, self.padding)
        return super().forward(images)

    def suited(self, images: Tensor, height: int, width: int) -> Tensor:
        """Images for the convolution before this one, in the layout of memory that passes on what this one reads best.

        Args:
            images: [batch, channels, rows, columns], values unchanged.
            height, width: of the maps between the two convolutions.
        """
        if self.uses_fourier((images.shape[0], self.in_channels, height, width)):
            return images.to(memory_format=torch.channels_last)
        return images

    def uses_fourier(self, shape: tuple[int, ...]) -> bool:
        """Whether `forward` goes through the Fourier domain with images of a shape, [batch, channels, height, width].

        By itself, it does so where `benchmarks/convolutions.py` has shown that it is faster: on CPUs, in float32, if
        the multiplications are clearly fewer.
        """
        if self.fourier == "off" or torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
            return False
        if self.fourier == "on":
            return True
        if self.weight.device.type != "cpu" or torch.is_autocast_enabled("cpu") or self.weight.dtype != torch.float32:
            return False
        padded = (shape[2] + 2 * self.padding[0], shape[3] + 2 * self.padding[1])
        direct, fourier = multiplications((*shape[:2], *padded), tuple(self.weight.shape), self.stride)
        return fourier < WORTHWHILE * direct


def choose_fourier(network: nn.Module, choice: str) -> None:
    """Set all of a network's convolutions that can go through the Fourier domain to auto, on or off."""
    for module in network.modules():
        if isinstance(module, FourierConv2d):
            module.fourier = choice


def went_through_fourier(network: nn.Module) -> bool:
    """Whether any convolution of a network went through the Fourier domain in the last forward pass."""
    return any(isinstance(module, FourierConv2d) and module.went_through_fourier for module in network.modules())
