"""Convolution with large kernels through the Fourier domain: fewer multiplications, and as exact as the direct sum.

docs/performance.md derives the method. In short, for one side of an image:

1. A convolution of stride s is the sum of s convolutions of stride 1. Each takes every s-th pixel and every s-th
   weight: a phase.
2. m outputs of a phase with t weights read n = m + t - 1 pixels: a tile. On n pixels, the correlation with the weights
   is a product of discrete Fourier transforms. It wraps around only outside the m outputs, so nothing is padded.
3. Transforms of real numbers come in conjugate pairs, of which one is enough. A complex product takes three real ones.
   The sums before and after them are part of the transforms.

So y = Ty [(Tx x) ∘ (Tw w)], with three constant linear maps of real numbers, each in two steps: along the rows, then
along the columns. In the middle stands one product of images and weights for each bin: a real number of a transformed
tile. The gradients take the same maps, transposed.

Axes: f bin, b tile and image, c input channel, o output channel. Tiles are [column, row, ..], since rows come first.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..routing.votes import computing_types, in_transform, plain_gradients
from .fourier_transform import IMAGE_TRIPLE, OUTPUT_TRIPLE, WEIGHT_TRIPLE, Transform

MOST_OUTPUTS = 14  # of a tile along one side
TRANSFORM_COST = 3.0  # of a multiplication in a transform, against one in the products between them
WORTHWHILE = 0.7  # of the direct multiplications
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
    """Of a phase: from pixels to bins. The transposed map of the outputs leads back from bins to them."""

    image: Transform
    weight: Transform
    output: Transform
    """The same for all phases."""


@functools.lru_cache(maxsize=64)
def transforms(rows: Side, columns: Side, row_phase: int, column_phase: int, dtype: torch.dtype) -> Transforms:
    """The matrices for a phase of the rows and of the columns."""
    tile = rows.bins, columns.bins
    pixels = rows.pixels(row_phase), columns.pixels(column_phase)
    taps = rows.taps(row_phase), columns.taps(column_phase)
    outputs = rows.outputs, columns.outputs
    return Transforms(
        Transform.fourier(tile, pixels, -1, IMAGE_TRIPLE, dtype),
        Transform.fourier(tile, taps, 1, WEIGHT_TRIPLE, dtype),  # a correlation: the conjugate
        Transform.fourier(tile, outputs, 1, OUTPUT_TRIPLE, dtype, inverse=True),
    )


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
        """The tiles that it reads of images [image, channel, row, column], as [column, row, b, c]."""
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
    """Tiles of a grid [image, channel, row, column] as [column, row, tile and image, channel], zero outside."""
    images, channels = grid.shape[:2]
    new = grid.new_empty if rows.tiles * columns.tiles == 1 else grid.new_zeros
    tiles = new(size[1], size[0], rows.tiles, columns.tiles, images, channels)
    for row, column, part in _tiles(grid, size, rows, columns):
        tiles[: part.shape[3], : part.shape[2], row, column] = part.permute(3, 2, 0, 1)
    return tiles.flatten(2, 4)


def _paste(grid: Tensor, tiles: Tensor, size: tuple[int, int], rows: Side, columns: Side) -> None:
    """Put tiles [column, row, tile and image, channel] into a grid of zeros; where tiles overlap, they add up."""
    tiles = tiles.view(size[1], size[0], rows.tiles, columns.tiles, *grid.shape[:2])
    only_one = rows.tiles * columns.tiles == 1
    for row, column, part in _tiles(grid, size, rows, columns):
        tile = tiles[: part.shape[3], : part.shape[2], row, column].permute(2, 3, 1, 0)
        part.copy_(tile) if only_one else part.add_(tile)


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
            image_hat = matrices.image(block.cut(images)).to(factor_dtype)  # [f, b, c]
            weight_hat = matrices.weight(block.of(weight).permute(3, 2, 0, 1)).to(factor_dtype)  # [f, o, c]
            if products is None or factor_dtype != images.dtype:
                product = torch.bmm(image_hat, weight_hat.transpose(1, 2)).to(images.dtype)
                products = product if products is None else products.add_(product)
            else:
                products.baddbmm_(image_hat, weight_hat.transpose(1, 2))
            factors += (image_hat, weight_hat)
        ctx.stride = stride
        ctx.save_for_backward(images, weight, *factors)
        outputs = images.new_zeros(len(images), rows.count, columns.count, len(weight)).permute(0, 3, 1, 2)
        _paste(outputs, matrices.output.transposed(products), (rows.outputs, columns.outputs), rows, columns)
        return outputs

    @staticmethod
    def backward(ctx: Any, outputs_grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight, *factors = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = functools.partial(F.conv2d, stride=ctx.stride)
            return *plain_gradients(plain, (images, weight), outputs_grad), None, None
        rows, columns = ctx.blocks[0][:2]
        images_grad = _new_gradient(images, rows, columns) if ctx.needs_input_grad[0] else None
        weight_grad = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        tiles = _cut(outputs_grad, (rows.outputs, columns.outputs), rows, columns)
        products_grad = ctx.blocks[0].transforms(images.dtype).output(tiles).to(factors[0].dtype)  # [f, b, o]
        for block, image_hat, weight_hat in zip(ctx.blocks, factors[::2], factors[1::2], strict=True):
            matrices = block.transforms(images.dtype)
            if images_grad is not None:
                tiles = matrices.image.transposed(torch.bmm(products_grad, weight_hat).to(images.dtype))
                _paste(block.of(images_grad), tiles, block.size, rows, columns)
            if weight_grad is not None:
                hat_grad = torch.bmm(products_grad.transpose(1, 2), image_hat).to(images.dtype)  # [f, o, c]
                block.of(weight_grad).copy_(matrices.weight.transposed(hat_grad).permute(2, 3, 1, 0))
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
    computed in float32 and what they are multiplied with in bfloat16. Gradients that are to be differentiated again,
    and the transforms of `torch.func`, take PyTorch's own convolution.

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
        images, weight = images.to(dtype), weight.to(dtype)
        if in_transform():
            outputs = F.conv2d(images, weight, stride=stride)
        else:
            outputs = _FourierConvolution.apply(images, weight, stride, factor_dtype)
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
    products, transformed = 0, 0
    for row_phase, column_phase in itertools.product(rows.phases, columns.phases):
        matrices = transforms(rows, columns, row_phase, column_phase, torch.float32)
        products += matrices.image.bins * tiles * channel_pairs
        transformed += matrices.image.multiplications * tiles * shape[1]
        transformed += matrices.weight.multiplications * channel_pairs
    transformed += matrices.output.multiplications * tiles * weight_shape[0]
    direct = shape[0] * rows.count * columns.count * kernel * channel_pairs
    return direct, products + TRANSFORM_COST * transformed


class FourierConv2d(nn.Conv2d):
    """A convolution that goes through the Fourier domain where that is faster.

    Weights, results up to rounding, and what a checkpoint holds are those of `nn.Conv2d`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias: as of `nn.Conv2d`; padding in numbers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.fourier = "on"
        """on: with images for which it takes clearly fewer multiplications; off; or always.

        What is compiled or exported never goes through the Fourier domain."""

    def forward(self, images: Tensor) -> Tensor:
        """[batch, in_channels, height, width] -> [batch, out_channels, rows, columns]."""
        if self.uses_fourier(images.shape):
            return fourier_conv2d(images, self.weight, self.bias, self.stride, self.padding)
        return super().forward(images)

    def uses_fourier(self, shape: tuple[int, ...]) -> bool:
        """Does `forward` go through the Fourier domain with images of a shape, [batch, channels, height, width]?"""
        if self.fourier == "off" or torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
            return False
        return self.fourier == "always" or self.saves_multiplications(shape)

    def saves_multiplications(self, shape: tuple[int, ...]) -> bool:
        """Does the Fourier domain take clearly fewer multiplications with such images? In a CPU's float32 only."""
        if self.weight.device.type != "cpu" or self.weight.dtype != torch.float32:
            return False
        padded = (shape[2] + 2 * self.padding[0], shape[3] + 2 * self.padding[1])
        direct, fourier = multiplications((*shape[:2], *padded), tuple(self.weight.shape), self.stride)
        return fourier < WORTHWHILE * direct


def offer_fourier(network: nn.Module) -> None:
    """Let a network's ordinary convolutions go through the Fourier domain where that is faster. Their weights stay."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if _is_ordinary(child):
                with torch.device("meta"):  # weights of its own would be drawn in vain
                    convolution = FourierConv2d(
                        child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding
                    )
                convolution.weight, convolution.bias = child.weight, child.bias
                setattr(module, name, convolution)


def _is_ordinary(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d or isinstance(module.padding, str) or module.padding_mode != "zeros":
        return False
    return module.groups == 1 and module.dilation == (1, 1)


def choose_fourier(network: nn.Module, choice: str) -> None:
    """Set all of a network's convolutions that can go through the Fourier domain to on, off or always."""
    for module in network.modules():
        if isinstance(module, FourierConv2d):
            module.fourier = choice


def worth_fourier(network: nn.Module, image: Tensor, batch: int) -> list[FourierConv2d]:
    """Convolutions of a network for which the Fourier domain takes clearly fewer multiplications.

    Args:
        network: what it is asked of.
        image: [1, *image_shape], to find out the shapes of the maps.
        batch: how many such images there will be.
    """
    shapes: dict[FourierConv2d, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda module, given: shapes.update({module: (batch, *given[0].shape[1:])}))
        for module in network.modules()
        if isinstance(module, FourierConv2d)
    ]
    training = network.training
    try:
        with torch.no_grad(), contextlib.suppress(Exception):  # a network that fails, fails again where it is used
            network.eval()(image)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return [module for module, shape in shapes.items() if module.saves_multiplications(shape)]
