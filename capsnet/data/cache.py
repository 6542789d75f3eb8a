"""Images that were read from many files, kept as one array in the user's cache folder."""

import contextlib
import hashlib
import json
import logging
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import atomic_write, make_folder

log = logging.getLogger(__name__)

FORMAT = 1  # raise it when the same files would be read as other pixels


class ReadImages(NamedTuple):
    """What was read of a list of files."""

    images: np.ndarray
    """Of the files that could be read, in their order, [n, channels, height, width] uint8."""
    broken: dict[int, str]
    """Why each of the other files cannot be read, by its place in the list."""


def user_cache() -> Path:
    """The folder for this project's files in the user's cache folder."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "capsnet"


def cached(folder: Path | None, origin: str, state: str, read: Callable[[], ReadImages]) -> ReadImages:
    """What `read` gives, from the cache if it was read before in the same state.

    Args:
        folder: the cache folder; None: always read.
        origin: what is read and how, such as a folder's path and the images' size. Its earlier states are removed.
        state: all that can change, such as the files' names, sizes and times.
        read: reads the images; called if they are not in the cache.
    """
    if folder is None:
        return read()
    beginning = hashlib.sha256(f"{FORMAT}\n{origin}".encode(errors="surrogateescape")).hexdigest()[:20]
    ending = hashlib.sha256(state.encode(errors="surrogateescape")).hexdigest()[:40]
    path = folder / f"{beginning}-{ending}.npz"
    found = _load(path)
    if found is None:
        found = read()
        _save(path, found)
        for earlier in folder.glob(f"{beginning}-*.npz"):
            if earlier != path:
                with contextlib.suppress(OSError):
                    earlier.unlink()
    return found


def _load(path: Path) -> ReadImages | None:
    """The content of a file in the cache; None if there is none, or if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:  # the zip file's checksums are checked
            images, broken = arrays["images"], json.loads(arrays["broken"].tobytes())
        if images.ndim == 4 and images.dtype == np.uint8:
            return ReadImages(images, {int(place): str(why) for place, why in broken.items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile):
        pass
    log.warning("%s: damaged, so the images are read again", path)
    return None


def _save(path: Path, found: ReadImages) -> None:
    try:
        make_folder(path.parent)
        with atomic_write(path) as draft, draft.open("wb") as file:
            broken = np.frombuffer(json.dumps(found.broken).encode(), np.uint8)
            np.savez(file, images=found.images, broken=broken)
    except OSError as error:
        log.warning(
            "%s: the images that were read cannot be kept here (%s); set data.cache=FOLDER, or data.cache=null",
            path.parent,
            error.strerror or error,
        )
