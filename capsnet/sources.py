"""Where the images come from: torchvision's datasets, checked before use, and scikit-learn's digits."""

import contextlib
import hashlib
import logging
import math
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.error import URLError

import numpy as np
import torch
from filelock import FileLock, Timeout
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torchvision.datasets import KMNIST, MNIST, FashionMNIST

from .config import DataConfig
from .errors import DataError, on_one_line
from .results import remove_empty

log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT = 15  # seconds that an address may leave us without an answer
DIGITS_TEST_IMAGES = 360  # of 1,797: scikit-learn ships no split of its own

# The raw files of the official release; where one is damaged on its way, or is another file, its digest differs.
KMNIST_DIGESTS = {
    "train-images-idx3-ubyte": "md5:92be26ec9822e900ac425d0a0aa84ced",
    "train-labels-idx1-ubyte": "sha256:2a16eeae62da984b8bd24fa32e31d47291f01dac3fe84d5594f304f71e7d374b",
    "t10k-images-idx3-ubyte": "sha256:76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
    "t10k-labels-idx1-ubyte": "sha256:a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
}
KMNIST_CLASSES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
KMNIST_CHARACTERS = ("お", "き", "す", "つ", "な", "は", "ま", "や", "れ", "を")


class Labelled(NamedTuple):
    """Images with their classes."""

    images: Tensor
    """[n, channels, height, width] uint8."""
    labels: Tensor
    """[n] int64."""


class Source(Protocol):
    """A dataset that can be made ready, and then read in two parts."""

    name: str
    class_names: tuple[str, ...]
    class_characters: tuple[str, ...] | None
    """What the classes look like in their own script, where that is not their name."""
    sha256: dict[str, str]
    """Digest of each file that stands behind the images; filled in by `prepare`."""
    official: bool | None
    """False where the files are readable but not those of the official release; None where nothing tells."""

    def prepare(self) -> None:
        """Fetch what is missing and check what is there. Raises DataError."""

    def train(self) -> Labelled: ...

    def test(self) -> Labelled: ...


def open_source(data: DataConfig) -> Source:
    """The source that `data.name` names; a new dataset gets its line here and its name in `config.DATASETS`."""
    match data.name:
        case "kmnist":
            return IdxSource(data, KMNIST, KMNIST_CLASSES, KMNIST_CHARACTERS, KMNIST_DIGESTS)
        case "mnist":
            return IdxSource(data, MNIST, tuple("0123456789"))
        case "fashion_mnist":
            return IdxSource(data, FashionMNIST, tuple(FashionMNIST.classes))
        case "digits":
            return DigitsSource()
    raise ValueError(f"no source is called {data.name!r}")


class DigitsSource:
    """scikit-learn's 1,797 handwritten digits (from UCI's optical recognition set), scaled from 8x8 to 28x28."""

    name = "digits"
    class_names = tuple("0123456789")
    class_characters = None
    official = True

    def __init__(self) -> None:
        self.sha256: dict[str, str] = {}

    def prepare(self) -> None:
        digits = load_digits()
        small = torch.as_tensor(digits.images, dtype=torch.float32).unsqueeze(1) * (255 / 16)
        large = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear", align_corners=False)
        images, labels = large.round().to(torch.uint8), torch.as_tensor(digits.target, dtype=torch.int64)
        # The seed stands here, not in the config: every run is tested on the same images.
        train, test = stratified_split(labels, DIGITS_TEST_IMAGES, seed=0)
        self._train = Labelled(images[train], labels[train])
        self._test = Labelled(images[test], labels[test])
        self.sha256 = {"digits": hashlib.sha256(digits.data.tobytes() + digits.target.tobytes()).hexdigest()}

    def train(self) -> Labelled:
        return self._train

    def test(self) -> Labelled:
        return self._test


class IdxSource:
    """A dataset in MNIST's file format, read by torchvision from `root/NAME/raw`.

    Args:
        data: where the files are, and whether and from where they may be downloaded.
        dataset: torchvision's class.
        class_names: names of the classes 0, 1, ...
        class_characters: the same in their own script.
        digests: "algorithm:hex digest" of the official release's files, by name.
    """

    def __init__(
        self,
        data: DataConfig,
        dataset: type[MNIST],
        class_names: tuple[str, ...],
        class_characters: tuple[str, ...] | None = None,
        digests: dict[str, str] | None = None,
    ):
        self.name, self.class_names, self.class_characters = data.name, class_names, class_characters
        self.root, self.may_download, self.digests = Path(data.root), data.download, digests or {}
        self.raw = self.root / dataset.__name__ / "raw"
        self.files = [archive.removesuffix(".gz") for archive, _ in dataset.resources]
        self.sha256: dict[str, str] = {}
        self.official: bool | None = None
        mirrors = [data.mirror.rstrip("/") + "/"] if data.mirror else list(dataset.mirrors)
        # torchvision names the folder after the class, and would prefer an old cache to the files checked here.
        self.dataset = type(
            dataset.__name__, (dataset,), {"mirrors": mirrors, "_check_legacy_exist": lambda self: False}
        )

    def prepare(self) -> None:
        if self._missing():
            with self._alone():
                if missing := self._missing():
                    self._fetch(missing)
        self.sha256, differing = {}, []
        for kind in ("train", "t10k"):
            self._check_pair(self.raw / f"{kind}-images-idx3-ubyte", self.raw / f"{kind}-labels-idx1-ubyte")
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
                "%s: not the official files, call its results by another name: %s",
                self.raw,
                ", ".join(f"{name} ({_idx_shape(self.raw / name)[0]:,})" for name in differing),
            )

    def train(self) -> Labelled:
        return self._read(train=True)

    def test(self) -> Labelled:
        return self._read(train=False)

    def _read(self, train: bool) -> Labelled:
        dataset = self.dataset(self.root, train=train)
        return Labelled(dataset.data.unsqueeze(1).contiguous(), dataset.targets.long())

    def _missing(self) -> list[str]:
        return [name for name in self.files if not os.path.lexists(self.raw / name)]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several processes that find the files missing, one fetches them, and the others wait for it."""
        if not self.may_download:
            yield
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / f".{self.raw.parent.name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("Waiting for another process, which fetches %s to %s", self.name, self.raw)
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
            remove_empty(self.raw)  # where fetching has failed

    def _fetch(self, missing: list[str]) -> None:
        there = len(self.files) - len(missing)
        by_hand = f"put {', '.join(missing)} into {self.raw} by hand; data=digits works offline"
        if there:
            raise DataError(
                f"{self.name}: {', '.join(missing)} missing in {self.raw}, beside {there} files that are there:"
                f" {by_hand}, or empty that folder to download all"
            )
        if not self.may_download:
            raise DataError(f"{self.name}: no files in {self.raw}, and data.download=false: {by_hand}")
        log.info("Downloading %s to %s from %s", self.name, self.raw, self.dataset.mirrors[0])
        try:
            self.raw.mkdir(parents=True, exist_ok=True)
            beginning = f".{self.raw.parent.name}-download-"
            for left in self.root.glob(f"{beginning}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            # Beside their place, then moved into it one by one: what has a file's name is always a whole file.
            with tempfile.TemporaryDirectory(prefix=beginning, dir=self.root) as folder, _timeout(DOWNLOAD_TIMEOUT):
                fetched = Path(self.dataset(folder, download=True).raw_folder)
                for name in self.files:
                    os.replace(fetched / name, self.raw / name)
        except (OSError, URLError, RuntimeError, EOFError) as error:
            raise DataError(
                f"{self.name}: no files in {self.raw}, and downloading them failed ({on_one_line(error)}): {by_hand}"
            ) from error

    def _check_pair(self, images: Path, labels: Path) -> None:
        (count, *_), (labelled,) = _idx_shape(images, dims=3), _idx_shape(labels, dims=1)
        if count != labelled:
            raise DataError(
                f"{labels}: {labelled:,} labels, but {images.name} has {count:,} images; {self._replace(labels)}"
            )
        values = np.frombuffer(_read(labels), dtype=np.uint8, offset=8)
        if values.max() >= len(self.class_names):
            raise DataError(
                f"{labels}: holds label {values.max()}, but {self.name} has the classes"
                f" 0 to {len(self.class_names) - 1}; {self._replace(labels)}"
            )

    def _replace(self, path: Path) -> str:
        return f"replace it, or remove {path.parent} to download all again"


def stratified_split(labels: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images that stay and of `held_out` ones, each class in proportion; both in ascending order.

    Raises:
        DataError: there are not enough images for a part of each class on both sides.
    """
    try:
        stay, leave = train_test_split(
            np.arange(len(labels)), test_size=held_out, random_state=seed, stratify=labels.numpy()
        )
    except ValueError as error:
        raise DataError(f"cannot hold out {held_out:,} of {len(labels):,} images by class: {error}") from error
    return torch.as_tensor(np.sort(stay)), torch.as_tensor(np.sort(leave))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); it must be an uncompressed IDX file") from error


def _idx_shape(path: Path, dims: int | None = None) -> tuple[int, ...]:
    """The shape that an IDX file of bytes declares, held against its size before anything is allocated."""
    remedy = f"replace it, or remove {path.parent} to download all again"
    try:
        with path.open("rb") as file:
            head, size = file.read(16), path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    if head[:2] == b"\x1f\x8b":
        raise DataError(f"{path}: is compressed; unpack it with gunzip (the name without .gz)")
    if len(head) < 4 or head[:3] != b"\0\0\x08" or head[3] != (dims or head[3]):
        wanted = f", expected 0000080{dims}" if dims else ""
        raise DataError(
            f"{path}: not an IDX file of that kind (begins with {head[:4].hex() or 'nothing'}{wanted}); {remedy}"
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
        raise DataError(f"{path}: holds nothing (shape {list(shape)}); {remedy}")
    return shape


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
