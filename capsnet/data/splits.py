"""Holding images out of a set, class by class."""

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from ..errors import DataError

ROWS_AT_ONCE = 1024


def stratified_split(labels: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images to keep and of `held_out` others, each class in proportion; both in ascending order.

    Raises:
        DataError: there are too few images for every class to be on both sides.
    """
    try:
        kept, out = train_test_split(
            np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels.numpy()
        )
    except ValueError as error:
        raise DataError(f"cannot hold out {held_out:,} of {len(labels):,} images by class: {error}") from error
    return torch.as_tensor(np.sort(kept)), torch.as_tensor(np.sort(out))


def take_rows(images: Tensor, rows: Tensor, in_place: bool = False) -> Tensor:
    """images[rows].

    Args:
        images: [n, ...].
        rows: in ascending order, [m].
        in_place: nobody else needs `images`: the result is a part of their memory, so it takes no more.
    """
    if not in_place:
        return images[rows]
    if len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows):
        return images[int(rows[0]) : int(rows[-1]) + 1]
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        images[first : first + len(some)] = images[some]
    return images[: len(rows)]
