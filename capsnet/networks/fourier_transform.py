"""The discrete Fourier transform of small real tiles, as products with constant real matrices: fast for many at once.

It goes along the rows, then along the columns of the result. Transforms of real numbers come in conjugate pairs, of
which one is kept. A complex number is kept as three real ones, so that a product of two takes three products.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# The three real numbers that stand for a complex one, from its real and imaginary part:
# (a + bi)(c + di) = (k1 - k3) + (k1 + k2)i, with k1 = (a + b)c, k2 = a(d - c), k3 = b(c + d). Back through e + gi, the
# real part e(k1 - k3) - g(k1 + k2) counts.
IMAGE_TRIPLE = np.array([[1, 1], [1, 0], [0, 1]])
WEIGHT_TRIPLE = np.array([[1, 0], [-1, 1], [1, 1]])
OUTPUT_TRIPLE = np.array([[1, -1], [0, -1], [-1, 0]])


class Transform(NamedTuple):
    """A linear map from the pixels of a tile to its bins: first along each row, then along each column of the result.

    A row becomes one half of its spectrum: real numbers for frequencies that are their own conjugates, two numbers for
    each of the others. So the columns are real or complex, and have a matrix for either.
    """

    row: Tensor
    """[w, columns of pixels]."""
    real_column: Tensor
    """[bins of a real column, rows of pixels]."""
    complex_column: Tensor
    """[bins of a complex column, real and imaginary rows of pixels]."""

    @classmethod
    def fourier(
        cls,
        tile: tuple[int, int],
        part: tuple[int, int],
        sign: int,
        triple: np.ndarray,
        dtype: torch.dtype,
        inverse: bool = False,
    ) -> "Transform":
        """The discrete Fourier transform of the first rows and columns of a tile.

        Args:
            tile: its rows and columns.
            part: how many of them may differ from zero.
            sign: of the exponent.
            triple: which three real numbers stand for a complex one, as a matrix.
            dtype: of the matrices, which are computed in float64 and rounded once.
            inverse: divide by the pixels of a tile, and double the complex bins: they also stand for their conjugates.
        """
        down, across = (_waves(length, known, sign) for length, known in zip(tile, part, strict=True))
        (real_rows, complex_rows), (real_columns, complex_columns) = map(_frequencies, tile)
        scale, factor = (1 / (tile[0] * tile[1]), 2) if inverse else (1, 1)
        row = np.concatenate([across[real_columns].real, _parts(across[complex_columns]).reshape(-1, part[1])])
        triples = np.einsum("tx,kxp->ktp", triple, _parts(down[complex_rows])).reshape(-1, part[0])
        real_column = np.concatenate([down[real_rows].real, factor * triples])
        both = np.stack([_parts(down), _parts(1j * down)], axis=2)  # of a real pixel, and of an imaginary one
        complex_column = factor * np.einsum("tx,kxyp->ktyp", triple, both).reshape(-1, 2 * part[0])
        return cls(*(torch.from_numpy(matrix).to(dtype) for matrix in (scale * row, real_column, complex_column)))

    @property
    def real_columns(self) -> int:
        return 2 - len(self.row) % 2  # the constant, and the alternating wave of an even number of pixels

    @property
    def complex_columns(self) -> int:
        return len(self.row) // 2 - self.real_columns + 1

    @property
    def rows(self) -> int:
        """Rows of pixels."""
        return self.real_column.shape[1]

    @property
    def bins(self) -> int:
        return self.real_columns * len(self.real_column) + self.complex_columns * len(self.complex_column)

    @property
    def multiplications(self) -> int:
        columns = self.real_columns * self.real_column.numel() + self.complex_columns * self.complex_column.numel()
        return self.row.numel() * self.rows + columns

    def __call__(self, tiles: Tensor) -> Tensor:
        """Tiles [column, row, b, c] to bins [f, b, c]."""
        bins = tiles.new_empty(self.bins, *tiles.shape[2:])
        tiles = (self.row @ tiles.flatten(1)).view(len(self.row), self.rows, -1)
        for part, matrix, columns in self._columns(bins, tiles):
            torch.bmm(matrix.expand(len(part), -1, -1), columns, out=part)
        return bins

    def transposed(self, bins: Tensor) -> Tensor:
        """The transposed map: bins [f, ..] to tiles [column, row, ..]."""
        tiles = bins.new_empty(len(self.row), self.rows, bins[0].numel())
        for part, matrix, columns in self._columns(bins, tiles):
            torch.bmm(matrix.t().expand(len(part), -1, -1), part, out=columns)
        return (self.row.t() @ tiles.flatten(1)).view(-1, self.rows, *bins.shape[1:])

    def _columns(self, bins: Tensor, tiles: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The bins of the real columns, [column, bin, ..], their matrix and pixels; then those of the complex ones."""
        bins = bins.flatten(1)
        of_real = self.real_columns * len(self.real_column)
        yield bins[:of_real].view(self.real_columns, -1, bins.shape[1]), self.real_column, tiles[: self.real_columns]
        if self.complex_columns:
            complex_tiles = tiles[self.real_columns :].view(self.complex_columns, -1, bins.shape[1])
            yield bins[of_real:].view(self.complex_columns, -1, bins.shape[1]), self.complex_column, complex_tiles


def _waves(length: int, part: int, sign: int) -> np.ndarray:
    """The transform of the first numbers of some, [frequency, number]."""
    return np.exp(sign * 2j * np.pi * np.outer(np.arange(length), np.arange(part)) / length)


def _frequencies(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Those that are their own conjugates, and one of each pair of the others."""
    return np.arange(0, length, length // 2 if length % 2 == 0 else length), np.arange(1, (length + 1) // 2)


def _parts(numbers: np.ndarray) -> np.ndarray:
    """[k, ..] complex to [k, real and imaginary part, ..]."""
    return np.stack([numbers.real, numbers.imag], axis=1)
