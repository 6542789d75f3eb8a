"""Datasets in MNIST's file format, IDX: downloaded, or yours; all checked before they are used."""

import hashlib
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.datasets import MNIST

from ..errors import DataError
from ..files import user_path
from ..text import printable
from .released import Release, ReleasedSource, content_of, remedy
from .source import LabelledImages, Source


def idx_array(path: Path, content: bytes, rank: int, remedy: str) -> np.ndarray:
    """The uint8 numbers in an IDX file, an array of this rank. Raises DataError unless the file is one, and whole."""
    if content[:4] != bytes((0, 0, 8, rank)):
        found = content[:4].hex() or "nothing"
        raise DataError(f"{path}: not the expected IDX file (it begins with {found}, expected 0000080{rank}); {remedy}")
    head = 4 + 4 * rank
    if len(content) < head:
        raise DataError(f"{path}: cut off after {len(content):,} bytes; {remedy}")
    shape = struct.unpack(f">{rank}I", content[4:head])
    if len(content) != (expected := head + math.prod(shape)):
        state = "cut off" if len(content) < expected else "too long"
        raise DataError(f"{path}: {state}, {len(content):,} bytes instead of {expected:,}; {remedy}")
    if 0 in shape:
        raise DataError(f"{path}: is empty (shape {list(shape)}); {remedy}")
    return np.frombuffer(bytearray(content), dtype=np.uint8, offset=head).reshape(shape)


def release_of(dataset: type[MNIST], digests: Mapping[str, str] | None = None) -> Release:
    """The release that a class of torchvision describes.

    Args:
        dataset: the class.
        digests: see `Release.digests`.
    """
    names = [archive.removesuffix(".gz") for archive, _ in dataset.resources]
    return Release(dataset.__name__, dataset.mirrors, dataset.resources, (names[:2], names[2:]), digests or {})


class IdxSource(ReleasedSource):
    """A dataset in MNIST's file format: a file of images and one of labels for each part."""

    array = staticmethod(idx_array)
    """Reads the numbers in a file."""

    def read(self, contents: Mapping[Path, bytes]) -> list[LabelledImages]:
        files = list(contents)
        parts = read_parts((files[:2], files[2:]), contents, remedy, self.array)
        for part, path in zip(parts, files[1::2], strict=True):
            if (largest := part.labels.max()) >= len(self.class_names):
                known = f"{self.release.name} has the classes 0 to {len(self.class_names) - 1}"
                raise DataError(f"{path}: has label {largest}, but {known}; {remedy(path)}")
        return [part.as_tensors() for part in parts]


class IdxFiles(Source):
    """Your own four files in MNIST's format. Each label that occurs in training is a class, and its name.

    Args:
        root: their folder.
        train_images, train_labels, test_images, test_labels: their names.
    """

    def __init__(
        self,
        root: str,
        train_images: str = "train-images-idx3-ubyte",
        train_labels: str = "train-labels-idx1-ubyte",
        test_images: str = "t10k-images-idx3-ubyte",
        test_labels: str = "t10k-labels-idx1-ubyte",
    ):
        self.root = user_path(root)
        self.title = printable(self.root.absolute().name)
        self.class_names: tuple[str, ...] = ()
        self.sha256: dict[str, str] = {}
        self._pairs = [
            (self.root / train_images, self.root / train_labels),
            (self.root / test_images, self.root / test_labels),
        ]

    def prepare(self) -> None:
        """Check the files. Raises DataError."""
        advice = "replace it"
        contents = {path: content_of(path, advice) for pair in self._pairs for path in pair}
        self._parts = read_parts(self._pairs, contents, lambda path: advice)
        known, tested = (np.unique(part.labels) for part in self._parts)
        (_, train_labels), (_, test_labels) = self._pairs
        if len(known) < 2:
            raise DataError(f"{train_labels}: has one class only, {known[0]}; two are the least")
        if len(unknown := np.setdiff1d(tested, known)):
            raise DataError(f"{test_labels}: has label {unknown[0]}, which is not among those for training")
        self.class_names = tuple(map(str, known))
        self._parts = [part._replace(labels=np.searchsorted(known, part.labels)) for part in self._parts]
        self.sha256 = {path.name: hashlib.sha256(content).hexdigest() for path, content in contents.items()}

    def train(self) -> LabelledImages:
        return self._parts[0].as_tensors()

    def test(self) -> LabelledImages:
        return self._parts[1].as_tensors()


class Part(NamedTuple):
    """What a file of images and a file of labels have."""

    images: np.ndarray
    """[n, height, width] uint8."""
    labels: np.ndarray
    """[n]."""

    def as_tensors(self) -> LabelledImages:
        return LabelledImages(
            torch.from_numpy(self.images).unsqueeze(1), torch.from_numpy(self.labels.astype(np.int64))
        )


def read_parts(
    pairs: Sequence[Sequence[Path]],
    contents: Mapping[Path, bytes],
    remedy: Callable[[Path], str],
    array: Callable[..., np.ndarray] = idx_array,
) -> list[Part]:
    """What pairs of files have, those for training first.

    Args:
        pairs: a file of images and one of labels, each.
        contents: of the files, unpacked.
        remedy: says what to do about a file that cannot be used.
        array: reads a file's numbers, as `idx_array` does.

    Raises:
        DataError: images and labels are not as many, or test images have another size.
    """
    parts = []
    for files in pairs:
        ranks = zip(files, (3, 1), strict=True)
        part = Part(*(array(path, contents[path], rank, remedy(path)) for path, rank in ranks))
        if len(part.images) != len(part.labels):
            counts = f"{len(part.labels):,} labels, but {files[0].name} has {len(part.images):,} images"
            raise DataError(f"{files[1]}: {counts}; {remedy(files[1])}")
        parts.append(part)
    size, test_size = (part.images.shape[1:] for part in parts)
    if test_size != size:
        raise DataError(f"{pairs[1][0]}: its images are {_by(test_size)}, those for training {_by(size)}")
    return parts


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
