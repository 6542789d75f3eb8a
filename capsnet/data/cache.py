"""Images that were read from many files, kept as one array in the user's cache folder."""

import contextlib
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL

from ..files import atomic_write, make_folder
from .pictures import DIGEST_BYTES, Range
from .source import NOTHING

log = logging.getLogger(__name__)

FORMAT = 3  # raise it when the same files would be read as something else
MADE_HERE = f"{'[0-9a-f]' * 20}-{'[0-9a-f]' * 40}.npz"  # pattern of the files' names
ABANDONED = 3600  # seconds in which nobody wrote to a draft


class ReadImages(NamedTuple):
    """What was read of a list of files."""

    images: np.ndarray
    """Of the files that could be read, in their order, [n, channels, height, width] uint8."""
    file_digests: np.ndarray
    """Of these files' contents, [n, DIGEST_BYTES] uint8."""
    broken: dict[int, str]
    """Why each of the other files cannot be read, by its place in the list."""
    lasting: bool = True
    """Reading them again would give the same; False if the system could not read a file."""
    ranges: Mapping[str, Range] = NOTHING
    """What is black and what is white in the pictures of each kind."""


def user_cache() -> Path | None:
    """The folder for this project's files in the user's cache folder; None if there is no home folder."""
    base = os.environ.get({"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_CACHE_HOME"))
    if base:
        return Path(base) / "capsnet"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "capsnet"


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
    ending = hashlib.sha256(f"{PIL.__version__}\n{state}".encode(errors="surrogateescape")).hexdigest()[:40]
    path = folder / f"{beginning}-{ending}.npz"
    found = _load(path)
    if found is None:
        found = read()
        if found.lasting:
            _save(path, found)
            _remove_old(path, beginning)
    return found


def _remove_old(path: Path, beginning: str) -> None:
    """Remove the earlier states of what is in a file of the cache, and what killed processes left."""
    earlier = [other for other in path.parent.glob(f"{beginning}-*.npz") if other != path]
    for other in [*earlier, *path.parent.glob(f"{MADE_HERE}.*.part")]:
        with contextlib.suppress(OSError):
            if other in earlier or other.stat().st_mtime < time.time() - ABANDONED:
                other.unlink()


def _load(path: Path) -> ReadImages | None:
    """The content of a file in the cache; None if there is none, or if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:  # the zip file's checksums are checked
            images, digests, said = arrays["images"], arrays["digests"], json.loads(arrays["said"].tobytes())
        if images.ndim == 4 and images.dtype == np.uint8 and digests.shape == (len(images), DIGEST_BYTES):
            broken = {int(place): str(why) for place, why in said["broken"].items()}
            ranges = {kind: Range(*ends) for kind, ends in said["ranges"].items()}
            return ReadImages(images, digests, broken, ranges=ranges)
    except FileNotFoundError:
        return None
    except Exception as error:  # numpy, zipfile and json raise many kinds for damaged content
        log.debug("%s: %s", path, error)
    log.warning("%s: damaged, so the images are read again", path)
    return None


def _save(path: Path, found: ReadImages) -> None:
    try:
        make_folder(path.parent)
        with atomic_write(path) as draft, draft.open("wb") as file:
            said = json.dumps({"broken": found.broken, "ranges": dict(found.ranges)})
            arrays = {"images": found.images, "digests": found.file_digests}
            np.savez(file, **arrays, said=np.frombuffer(said.encode(), np.uint8))
    except OSError as error:
        warn_not_kept(str(path.parent), error.strerror or str(error))


def warn_not_kept(where: str, why: str) -> None:
    """Say that images have to be read anew each time."""
    log.warning(
        "%s: the images that were read cannot be kept here (%s); set data.cache=FOLDER, or data.cache=null", where, why
    )
