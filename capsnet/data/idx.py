"""Datasets in MNIST's file format, IDX: yours, or downloaded by torchvision; all checked before they are used."""

import contextlib
import gzip
import hashlib
import logging
import math
import os
import shutil
import socket
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

import numpy as np
import torch
from filelock import FileLock, Timeout
from torchvision.datasets import MNIST

from ..errors import DataError
from ..files import make_folder, remove_made_folder, user_path
from ..text import on_one_line, printable
from .source import LabelledImages, Source

log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT = 15  # seconds without an answer from an address


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


class IdxSource(Source):
    """A dataset in MNIST's file format, read by torchvision from `root/NAME/raw`.

    Args:
        dataset: torchvision's class.
        root: folder of the datasets' own folders.
        download: download missing files.
        mirror: download from this address instead of the dataset's own server.
        class_names: names of the classes 0, 1, ...
        class_characters: the same in their own script.
        digests: "algorithm:hex digest" of the official release's files, by name.
    """

    array = staticmethod(idx_array)
    """Reads the numbers in a file."""

    def __init__(
        self,
        dataset: type[MNIST],
        root: str,
        download: bool,
        mirror: str | None,
        class_names: tuple[str, ...],
        class_characters: tuple[str, ...] | None = None,
        digests: dict[str, str] | None = None,
    ):
        self.name, self.class_names, self.class_characters = dataset.__name__, class_names, class_characters
        self.root, self.may_download, self.digests = user_path(root), download, digests or {}
        self.files = [archive.removesuffix(".gz") for archive, _ in dataset.resources]
        self.raw = self.root / dataset.__name__ / "raw"
        self.sha256: dict[str, str] = {}
        self.official: bool | None = None
        mirrors = [mirror.rstrip("/") + "/"] if mirror else list(dataset.mirrors)
        # torchvision names the folder after the class. It would prefer an old cache to the files that are checked here.
        self.dataset = type(
            dataset.__name__, (dataset,), {"mirrors": mirrors, "_check_legacy_exist": lambda self: False}
        )

    def prepare(self) -> None:
        by_hand = (self.raw, self.raw.parent, self.root)  # where people put them
        self.raw = next((folder for folder in by_hand if not self._missing(folder)), self.raw)
        if self._missing(self.raw):
            with self._download_lock():
                if missing := self._missing(self.raw):
                    self._download(missing)
        files = [self.raw / name for name in self.files]
        self._parts, contents = read_parts((files[:2], files[2:]), _remedy, self.array)
        for part, path in zip(self._parts, files[1::2], strict=True):
            if (largest := part.labels.max()) >= len(self.class_names):
                known = f"{self.name} has the classes 0 to {len(self.class_names) - 1}"
                raise DataError(f"{path}: has label {largest}, but {known}; {_remedy(path)}")
        self.sha256 = {path.name: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
        counts = {path.name: len(self._parts[number // 2].labels) for number, path in enumerate(files)}
        differing = [path.name for path, content in contents.items() if not self._may_be_official(path.name, content)]
        self.official = not differing if self.digests else None
        if differing:
            log.warning(
                "%s: these are not the official files, so report results under another name: %s",
                self.raw,
                ", ".join(f"{name} ({counts[name]:,})" for name in differing),
            )

    def _may_be_official(self, name: str, content: bytes) -> bool:
        algorithm, _, digest = self.digests.get(name, "").partition(":")
        return not digest or hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() == digest

    def train(self) -> LabelledImages:
        return self._parts[0].as_tensors()

    def test(self) -> LabelledImages:
        return self._parts[1].as_tensors()

    def _missing(self, folder: Path) -> list[str]:
        return [name for name in self.files if not os.path.lexists(_as_it_lies(folder / name))]

    @contextlib.contextmanager
    def _download_lock(self) -> Iterator[None]:
        """If several processes find the files missing, one downloads them while the others wait."""
        if not self.may_download:
            yield
            return
        try:
            make_folder(self.root)
            lock = FileLock(self.root / f".{self.raw.parent.name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("Waiting for another process that is downloading %s to %s", self.name, self.raw)
                lock.acquire()
        except OSError as error:
            raise DataError(
                f"{self.name}: no files in {self.raw}, and {self.root} cannot be written ({error.strerror}):"
                " make it writable, or choose another data.root"
            ) from error
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
            remove_made_folder(self.raw)  # if the download failed

    def _download(self, missing: list[str]) -> None:
        there = len(self.files) - len(missing)
        by_hand = f"put {', '.join(missing)} into {self.raw} yourself; data=kmnist_7k and data=digits need no download"
        if there:
            raise DataError(
                f"{self.name}: {self.raw} has {there} of its {len(self.files)} files, but not {', '.join(missing)}:"
                f" {by_hand}, or empty that folder to download all of them"
            )
        if not self.may_download:
            raise DataError(
                f"{self.name}: no files in {self.raw}, and data.download=false: set data.download=true, or {by_hand}"
            )
        log.info("Downloading %s to %s from %s", self.name, self.raw, self.dataset.mirrors[0])
        try:
            make_folder(self.raw)
            beginning = f".{self.raw.parent.name}-download-"
            for left in self.root.glob(f"{beginning}*"):  # leftovers of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            # Downloaded elsewhere, then moved into place: a file with the right name is always complete.
            with tempfile.TemporaryDirectory(prefix=beginning, dir=self.root) as folder, _timeout(DOWNLOAD_TIMEOUT):
                fetched = Path(self.dataset(folder, download=True).raw_folder)
                for name in self.files:
                    os.replace(fetched / name, self.raw / name)
        except (OSError, URLError, RuntimeError, EOFError) as error:
            raise DataError(
                f"{self.name}: no files in {self.raw}, and the download failed ({on_one_line(error)}): {by_hand}"
            ) from error


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
        self._parts, contents = read_parts(self._pairs, lambda path: "replace it")
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
    pairs: Sequence[Sequence[Path]], remedy: Callable[[Path], str], array: Callable[..., np.ndarray] = idx_array
) -> tuple[list[Part], dict[Path, bytes]]:
    """What pairs of files have, those for training first, and the files' unpacked content.

    Args:
        pairs: a file of images and one of labels, each.
        remedy: says what to do about a file that cannot be used.
        array: reads a file's numbers, as `idx_array` does.

    Raises:
        DataError: a file cannot be read, images and labels are not as many, or test images have another size.
    """
    contents = {path: _content(path, remedy(path)) for pair in pairs for path in pair}
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
    return parts, contents


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _remedy(path: Path) -> str:
    return f"replace it, or remove {path.parent} to download it again"


def _as_it_lies(path: Path) -> Path:
    """The file, or what is there in its place: the same compressed by gzip, as Kaggle names it, or in a folder of its
    name."""
    if os.path.lexists(path) and not path.is_dir():
        return path
    dotted = path.name.replace("-idx", ".idx")
    names = (f"{path.name}.gz", dotted, f"{dotted}.gz", f"{path.name}/{path.name}")
    return next((other for name in names if (other := path.parent / name).is_file()), path)


def _content(path: Path, remedy: str) -> bytes:
    """What is in a file, unpacked. Raises DataError if it cannot be read."""
    there = _as_it_lies(path)
    try:
        content = there.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{there}: is compressed and damaged ({on_one_line(error)}); {remedy}") from error
    except OSError as error:
        raise DataError(f"{there}: cannot be read ({error.strerror}); {remedy}") from error


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
