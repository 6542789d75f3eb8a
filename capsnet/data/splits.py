"""Holding images out of a set, class by class."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from ..errors import DataError

ROWS_AT_ONCE = 1024


def stratified_split(labels: Tensor, held_out: int, seed: int, least: int = 1) -> tuple[Tensor, Tensor]:
    """Indices of the images to keep and of `held_out` others, each class in proportion; both in ascending order.

    A class too small for its share has `least` images among the others all the same, if it has more than that, and the
    largest class has as many fewer. And one always stays.

    Raises:
        DataError: there are too few images for every class to be on both sides.
    """
    try:
        _, out = train_test_split(
            np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels.numpy()
        )
    except ValueError as error:
        raise DataError(f"cannot hold out {held_out:,} of {len(labels):,} images by class: {error}") from error
    is_out = np.zeros(len(labels), bool)
    is_out[out] = True
    _give_each_class(labels.numpy(), is_out, least)
    stays = ~is_out
    _give_each_class(labels.numpy(), stays, 1)
    return torch.as_tensor(np.flatnonzero(stays)), torch.as_tensor(np.flatnonzero(~stays))


def _give_each_class(labels: np.ndarray, on_side: np.ndarray, least: int) -> None:
    """Exchange images, in place, so that a side has `least` of every class that has more than that.

    Args:
        labels: of the images.
        on_side: which are on the side.
        least: images of a class.
    """
    sizes = np.bincount(labels)
    for label in np.flatnonzero(sizes):
        wanted = min(least, sizes[label] - 1)
        while (have := int((on_side & (labels == label)).sum())) < wanted:
            counts = np.bincount(labels[on_side], minlength=len(sizes))
            giver = int(counts.argmax())
            if counts[giver] <= have + 1:
                break  # nobody has more
            taken = np.flatnonzero(~on_side & (labels == label))[0]
            given = np.flatnonzero(on_side & (labels == giver))[0]
            on_side[taken], on_side[given] = True, False


def connected(keys: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Numbers of groups, [n]: two items have the same if they share a key, or are linked by others that do."""
    group = list(range(len(keys)))

    def first_of(item: int) -> int:
        while group[item] != item:
            group[item] = group[group[item]]
            item = group[item]
        return item

    seen: dict[Hashable, int] = {}
    for item, own in enumerate(keys):
        for key in own:
            group[first_of(item)] = first_of(seen.setdefault(key, item))
    return np.array([first_of(item) for item in range(len(keys))], dtype=np.int64)


def grouped_split(
    labels: np.ndarray, groups: np.ndarray, held_out: int, order: Sequence[int] | np.ndarray, least_kept: int = 1
) -> np.ndarray:
    """Indices of about `held_out` images, each class in proportion, whole groups at a time; in ascending order.

    Args:
        labels: of the images, [n].
        groups: images with the same number are held out together, [n].
        held_out: how many of all images.
        order: in which images are taken, each with its group.
        least_kept: images of each class that stay.
    """
    sizes = np.bincount(labels)
    wanted = sizes * held_out / len(labels)
    members: dict[int, list[int]] = {}
    for row in order:
        members.setdefault(int(groups[row]), []).append(int(row))
    of_group = {group: np.bincount(labels[rows], minlength=len(sizes)) for group, rows in members.items()}
    taken, chosen = np.zeros(len(sizes)), set()
    for group, own in of_group.items():
        has = own > 0
        fits = taken.sum() + own.sum() <= held_out
        if fits and (taken + own / 2 <= wanted)[has].all() and (sizes - taken - own >= least_kept)[has].all():
            taken += own
            chosen.add(group)
    for label in np.flatnonzero(sizes):
        if taken[label]:
            continue
        for group, own in sorted(of_group.items(), key=lambda item: item[1].sum()):  # too small for its share
            if own[label] and group not in chosen and (sizes - taken - own >= 1)[own > 0].all():
                taken += own
                chosen.add(group)
                break
    return np.flatnonzero(np.isin(groups, list(chosen)))


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
