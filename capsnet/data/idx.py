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
from typing import BinaryIO, cast
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

KINDS = ("train", "t10k")
DOWNLOAD_TIMEOUT = 15  # seconds without an answer from an address


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
        self.sha256, differing = {}, []
        self._check_files()
        for name in self.files:
            content = _read(self.raw / name)
            self.sha256[name] = hashlib.sha256(content).hexdigest()
            if name in self.digests:
                algorithm, digest = self.digests[name].split(":")
                if hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() != digest:
                    differing.append(name)
        self.official = not differing if self.digests else None
        if differing:
            log.warning(
                "%s: these are not the official files, so report results under another name: %s",
                self.raw,
                ", ".join(f"{name} ({self._length(name):,})" for name in differing),
            )

    def _check_files(self) -> None:
        """Raise DataError if a file cannot be used."""
        pairs = [(self.raw / f"{kind}-images-idx3-ubyte", self.raw / f"{kind}-labels-idx1-ubyte") for kind in KINDS]
        _check_pairs(pairs, _remedy)
        for _, labels in pairs:
            self._check_labels(labels, _labels(labels))

    def _check_labels(self, path: Path, labels: np.ndarray) -> None:
        if labels.max() >= len(self.class_names):
            raise DataError(
                f"{path}: has label {labels.max()}, but {self.name} has the classes"
                f" 0 to {len(self.class_names) - 1}; {_remedy(path)}"
            )

    def _length(self, name: str) -> int:
        """Images or labels in a file."""
        return _idx_shape(self.raw / name)[0]

    def train(self) -> LabelledImages:
        return self._read(train=True)

    def test(self) -> LabelledImages:
        return self._read(train=False)

    def _read(self, train: bool) -> LabelledImages:
        kind = "train" if train else "t10k"
        labels = _labels(self.raw / f"{kind}-labels-idx1-ubyte")
        return LabelledImages(
            _images(self.raw / f"{kind}-images-idx3-ubyte"), torch.from_numpy(labels.astype(np.int64))
        )

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
        self._pairs = {
            "train": (self.root / train_images, self.root / train_labels),
            "test": (self.root / test_images, self.root / test_labels),
        }

    def prepare(self) -> None:
        """Check the files. Raises DataError."""
        _check_pairs(list(self._pairs.values()), lambda path: "replace it")
        known, tested = (np.unique(_labels(self._pairs[part][1])) for part in ("train", "test"))
        if len(known) < 2:
            raise DataError(f"{self._pairs['train'][1]}: has one class only, {known[0]}; two are the least")
        if len(unknown := np.setdiff1d(tested, known)):
            raise DataError(f"{self._pairs['test'][1]}: has label {unknown[0]}, which is not among those for training")
        self.class_names = tuple(map(str, known))
        files = [path for pair in self._pairs.values() for path in pair]
        self.sha256 = {path.name: hashlib.sha256(_read(path)).hexdigest() for path in files}

    def train(self) -> LabelledImages:
        return self._part("train")

    def test(self) -> LabelledImages:
        return self._part("test")

    def _part(self, part: str) -> LabelledImages:
        images, labels = self._pairs[part]
        numbers = np.searchsorted(np.array(self.class_names, dtype=np.int64), _labels(labels))
        return LabelledImages(_images(images), torch.from_numpy(numbers))


def _images(path: Path) -> torch.Tensor:
    """The images in a file, [n, 1, height, width]."""
    pixels = np.frombuffer(bytearray(_read(path)), dtype=np.uint8, offset=16)
    return torch.from_numpy(pixels.reshape(_idx_shape(path))).unsqueeze(1)


def _labels(path: Path) -> np.ndarray:
    """The labels in a file, [n] uint8."""
    return np.frombuffer(_read(path), dtype=np.uint8, offset=8)


def _check_pairs(pairs: Sequence[tuple[Path, Path]], remedy: Callable[[Path], str]) -> None:
    """Raise DataError unless each file of images has one label for each, and all images have one size."""
    for images, labels in pairs:
        (count, *_), (labelled,) = _idx_shape(images, 3, remedy), _idx_shape(labels, 1, remedy)
        if count != labelled:
            raise DataError(f"{labels}: {labelled:,} labels, but {images.name} has {count:,} images; {remedy(labels)}")
    size, test_size = (_idx_shape(images)[1:] for images, _ in pairs)
    if test_size != size:
        raise DataError(f"{pairs[1][0]}: its images are {_by(test_size)}, those for training {_by(size)}")


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


@contextlib.contextmanager
def _opened(path: Path, remedy: str) -> Iterator[BinaryIO]:
    """An IDX file, unpacked while it is read. Raises DataError if it cannot be read."""
    there = _as_it_lies(path)
    try:
        with there.open("rb") as file:
            is_compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not is_compressed:
                yield file
                return
            with gzip.open(file) as unpacked:
                yield cast(BinaryIO, unpacked)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{there}: is compressed and damaged ({on_one_line(error)}); {remedy}") from error
    except OSError as error:
        raise DataError(f"{there}: cannot be read ({error.strerror}); {remedy}") from error


def _read(path: Path) -> bytes:
    with _opened(path, "it must be an IDX file") as file:
        return file.read()


def _idx_shape(path: Path, dims: int | None = None, how_to_repair: Callable[[Path], str] = _remedy) -> tuple[int, ...]:
    """The shape in an IDX file's header, checked against the file's size before anything is allocated."""
    remedy = how_to_repair(path)
    with _opened(path, remedy) as file:
        head = file.read(16)
        size = file.seek(0, os.SEEK_END)
    if len(head) < 4 or head[:3] != b"\0\0\x08" or head[3] != (dims or head[3]):
        wanted = f", expected 0000080{dims}" if dims else ""
        raise DataError(
            f"{path}: not the expected IDX file (it begins with {head[:4].hex() or 'nothing'}{wanted}); {remedy}"
        )
    rank = head[3]
    if len(head) < 4 + 4 * rank:
        raise DataError(f"{path}: cut off after {size:,} bytes; {remedy}")
    shape = struct.unpack(f">{rank}I", head[4 : 4 + 4 * rank])
    expected = 4 + 4 * rank + math.prod(shape)
    if size != expected:
        state = "cut off" if size < expected else "too long"
        raise DataError(f"{path}: {state}, {size:,} bytes instead of {expected:,}; {remedy}")
    if 0 in shape:
        raise DataError(f"{path}: is empty (shape {list(shape)}); {remedy}")
    return shape


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
