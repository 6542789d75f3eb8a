"""Datasets that are downloaded from their server on first use. Their files are checked before they are used."""

import contextlib
import gzip
import hashlib
import logging
import os
import shutil
import socket
import tempfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from torchvision.datasets.utils import download_and_extract_archive, download_url

from ..errors import DataError
from ..files import make_folder, remove_made_folder, user_path
from ..text import on_one_line
from .source import LabelledImages, Source

log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT = 15  # seconds without an answer from an address
PACKED = (".gz", ".zip")


class Release(NamedTuple):
    """What a dataset's server has."""

    name: str
    """Of the dataset, and of its folder."""
    mirrors: Sequence[str]
    """Addresses, which end in a slash."""
    archives: Sequence[tuple[str, str]]
    """Names, with the md5 of each; those that end in .gz or .zip are unpacked, others are files themselves."""
    files: tuple[Sequence[str], Sequence[str]]
    """Names of the files in them, for training and for testing."""
    digests: Mapping[str, str] = {}
    """Of unpacked files, by name, if they are known: the algorithm, a colon, and the digest in hexadecimals."""


class ReleasedSource(Source):
    """A dataset in `root/NAME/raw`, downloaded if it is not there.

    Args:
        release: what the server has.
        root: folder of the datasets' own folders.
        download: download missing files.
        mirror: download from this address instead of the dataset's own server.
        class_names: names of the classes 0, 1, ...
        class_characters: the same in their own script.
    """

    def __init__(
        self,
        release: Release,
        root: str,
        download: bool,
        mirror: str | None,
        class_names: tuple[str, ...],
        class_characters: tuple[str, ...] | None = None,
    ):
        self.release, self.class_names, self.class_characters = release, class_names, class_characters
        self.root, self.may_download = user_path(root), download
        self.mirrors = [mirror.rstrip("/") + "/"] if mirror else list(release.mirrors)
        self.files = [name for part in release.files for name in part]
        own = {name: f"md5:{md5}" for name, md5 in release.archives if not name.endswith(PACKED)}
        self.digests = {**own, **release.digests}
        self.raw = self.root / release.name / "raw"
        self.sha256: dict[str, str] = {}
        self.official: bool | None = None

    @abstractmethod
    def read(self, contents: Mapping[Path, bytes]) -> Sequence[LabelledImages]:
        """Images for training and for testing.

        Args:
            contents: of all files, unpacked, in the order of `Release.files`.

        Raises:
            DataError: a file does not have the form that it should have.
        """

    def prepare(self) -> None:
        by_hand = (self.raw, self.raw.parent, self.root)  # where people put them
        self.raw = next((folder for folder in by_hand if not self._missing(folder)), self.raw)
        if self._missing(self.raw):
            with self._download_lock():
                if missing := self._missing(self.raw):
                    self._download(missing)
        contents = {path: content_of(path, remedy(path)) for path in (self.raw / name for name in self.files)}
        self._parts = self.read(contents)
        self.sha256 = {path.name: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
        differing = {path.name for path, content in contents.items() if not self._may_be_official(path.name, content)}
        self.official = not differing if self.digests else None
        if differing:
            found = [
                f"{name} ({len(part.labels):,})"
                for names, part in zip(self.release.files, self._parts, strict=True)
                for name in names
                if name in differing
            ]
            log.warning(
                "%s: these are not the official files, so report results under another name: %s",
                self.raw,
                ", ".join(found),
            )

    def _may_be_official(self, name: str, content: bytes) -> bool:
        algorithm, _, digest = self.digests.get(name, "").partition(":")
        return not digest or hashlib.new(algorithm, content, usedforsecurity=False).hexdigest() == digest

    def train(self) -> LabelledImages:
        return self._parts[0]

    def test(self) -> LabelledImages:
        return self._parts[1]

    def _missing(self, folder: Path) -> list[str]:
        return [name for name in self.files if not os.path.lexists(as_it_lies(folder / name))]

    @contextlib.contextmanager
    def _download_lock(self) -> Iterator[None]:
        """If several processes find the files missing, one downloads them while the others wait."""
        if not self.may_download:
            yield
            return
        try:
            make_folder(self.root)
            lock = FileLock(self.root / f".{self.release.name}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("Waiting for another process that is downloading %s to %s", self.release.name, self.raw)
                lock.acquire()
        except OSError as error:
            raise DataError(
                f"{self.release.name}: no files in {self.raw}, and {self.root} cannot be written ({error.strerror}):"
                " make it writable, or choose another data.root"
            ) from error
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
            remove_made_folder(self.raw)  # if the download failed

    def _download(self, missing: list[str]) -> None:
        name, there = self.release.name, len(self.files) - len(missing)
        by_hand = f"put {', '.join(missing)} into {self.raw} yourself; data=kmnist_7k and data=digits need no download"
        if there:
            raise DataError(
                f"{name}: {self.raw} has {there} of its {len(self.files)} files, but not {', '.join(missing)}:"
                f" {by_hand}, or empty that folder to download all of them"
            )
        if not self.may_download:
            raise DataError(
                f"{name}: no files in {self.raw}, and data.download=false: set data.download=true, or {by_hand}"
            )
        log.info("Downloading %s to %s from %s", name, self.raw, self.mirrors[0])
        try:
            make_folder(self.raw)
            for left in self.root.glob(f".{name}-download-*"):  # leftovers of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            # Downloaded elsewhere, then moved into place: a file with the right name is always complete.
            prefix = f".{name}-download-"
            with tempfile.TemporaryDirectory(prefix=prefix, dir=self.root) as folder, _timeout(DOWNLOAD_TIMEOUT):
                for archive, md5 in self.release.archives:
                    fetch(self.mirrors, archive, md5, folder)
                for file in self.files:
                    os.replace(_unpacked(Path(folder), file), self.raw / file)
        except (OSError, RuntimeError, EOFError) as error:
            raise DataError(
                f"{name}: no files in {self.raw}, and the download failed ({on_one_line(error)}): {by_hand}"
            ) from error


def fetch(mirrors: Sequence[str], archive: str, md5: str, folder: str) -> None:
    """Download an archive from the first address that has it, and unpack it. Raises OSError or RuntimeError."""
    failures = []
    for mirror in mirrors:
        try:
            if archive.endswith(PACKED):
                download_and_extract_archive(mirror + archive, folder, filename=archive, md5=md5)
            else:
                download_url(mirror + archive, folder, archive, md5)
            return
        except (OSError, RuntimeError, ValueError, HTTPException) as error:
            failures.append(f"{mirror}: {error or type(error).__name__}")
    raise RuntimeError("; ".join(failures))


def _unpacked(folder: Path, name: str) -> Path:
    for path in folder.rglob(name):
        return path
    raise RuntimeError(f"{name} was not in what the server gave")


def remedy(path: Path) -> str:
    """What to do about a file that cannot be used."""
    return f"replace it, or remove {path.parent} to download it again"


def as_it_lies(path: Path) -> Path:
    """The file, or what is there in its place: the same compressed by gzip, as Kaggle names it, or in a folder of its
    name."""
    if os.path.lexists(path) and not path.is_dir():
        return path
    dotted = path.name.replace("-idx", ".idx")
    names = (f"{path.name}.gz", dotted, f"{dotted}.gz", f"{path.name}/{path.name}")
    return next((other for name in names if (other := path.parent / name).is_file()), path)


def content_of(path: Path, remedy: str) -> bytes:
    """What is in a file, unpacked. Raises DataError if it cannot be read."""
    there = as_it_lies(path)
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
