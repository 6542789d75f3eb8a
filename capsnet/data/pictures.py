"""Picture files and pictures in memory as pixels of one size: upright, opaque, 8 bits. Imports no torch."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..text import on_one_line

SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"])
"""Of the files that are read as pictures, in lower case."""

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
"""Of Pillow's. It knows others, some of which start programs."""

MOST_PIXELS = 90_000_000
MOST_BYTES = 2**30
LEAST_COLOR = 16  # difference between a pixel's channels; below it, a picture that is saved in color counts as gray

# A file is read or refused; what Pillow thinks odd about it helps nobody. Not catch_warnings: threads read pictures.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BrokenPictureError(Exception):
    """A file is not a picture that can be read; the message says why, without the file's name.

    Args:
        reason: the message.
        temporary: the system could not read the file, so that it may be readable at another time.
    """

    def __init__(self, reason: str, temporary: bool = False):
        super().__init__(reason)
        self.temporary = temporary


class TemporaryReason(str):
    """Why a file cannot be read that may be readable at another time."""


def is_picture_name(name: str) -> bool:
    """Does a file's name end as that of a picture?"""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height that a file's header gives. Raises BrokenPictureError."""
    with _reasons(), _opened(path) as file, _open(file) as picture:
        return picture.size


def read_picture(path: Path, at_least: int | None = None) -> Image.Image:
    """A file's first picture, as `upright` gives it.

    Args:
        path: of the file.
        at_least: pixels of the longer side that are enough; large JPEG files are then decoded faster.

    Raises:
        BrokenPictureError: the file is missing, damaged, not a picture, or too large.
    """
    with _reasons(), _opened(path) as file:
        return _decoded(file.read(), at_least)


def decode_picture(content: bytes, at_least: int | None = None) -> Image.Image:
    """The same of what a file contains. Raises BrokenPictureError."""
    with _reasons():
        if not content:
            raise BrokenPictureError("is empty")
        return _decoded(content, at_least)


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF data say, in mode L or RGB.

    What is transparent becomes white, or black if nothing would be seen on white.

    Raises:
        BrokenPictureError: its pixels have 32 bits.
    """
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        values = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise BrokenPictureError("has 32 bits in each pixel; save it with 8 or 16")
    if picture.has_transparency_data:
        return _opaque(picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    return picture.convert("RGB")


def to_pixels(picture: Image.Image, height: int, width: int, channels: int | None = None) -> np.ndarray:
    """A picture scaled to fit into height x width pixels, its proportions kept, the rest filled like its border.

    Args:
        picture: in mode L or RGB.
        height, width: of the result.
        channels: 1 for gray, 3 for color; None: 3 if the picture has colors.

    Returns:
        [channels, height, width] uint8.
    """
    scale = min(height / picture.height, width / picture.width)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)  # Pillow's takes the mean over what becomes a pixel
    if channels is None:
        channels = 3 if has_colors(picture) else 1
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    pixels = np.atleast_3d(pixels).transpose(2, 0, 1)
    if pixels.shape[1:] == (height, width):
        return np.ascontiguousarray(pixels)
    filled = np.empty((channels, height, width), np.uint8)
    filled[:] = np.median(border(pixels), axis=1).astype(np.uint8)[:, None, None]
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    filled[:, top : top + size[1], left : left + size[0]] = pixels
    return filled


def read_pixels(path: Path, height: int, width: int, channels: int | None = None) -> np.ndarray:
    """A file as `to_pixels` gives it. Raises BrokenPictureError."""
    return to_pixels(read_picture(path, max(height, width)), height, width, channels)


def pixels_or_reason(path: Path, height: int, width: int, channels: int | None = None) -> np.ndarray | str:
    """The same, or why the file cannot be read: a TemporaryReason if it may be readable at another time."""
    try:
        return read_pixels(path, height, width, channels)
    except BrokenPictureError as error:
        return TemporaryReason(error) if error.temporary else str(error)


def has_colors(picture: Image.Image) -> bool:
    """Is a picture in mode RGB not only saved in color, but colored?"""
    if picture.mode == "L":
        return False
    pixels = np.asarray(picture)
    return bool((pixels.max(axis=2) - pixels.min(axis=2)).max() > LEAST_COLOR)


def border(pixels: np.ndarray) -> np.ndarray:
    """The pixels along the edges, [..., height, width] -> [..., n]."""
    rows, columns = pixels[..., [0, -1], :], pixels[..., 1:-1, [0, -1]]
    return np.concatenate([side.reshape(*pixels.shape[:-2], -1) for side in (rows, columns)], axis=-1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_BYTES:
            raise BrokenPictureError(f"is larger than {MOST_BYTES // 2**20:,} MiB")
        if not size:
            raise BrokenPictureError("is empty")
        yield file


def _decoded(content: bytes, at_least: int | None) -> Image.Image:
    with _open(io.BytesIO(content)) as picture:
        if at_least is not None:
            picture.draft(None, (2 * at_least, 2 * at_least))
        with _libtiff_silenced() if picture.format == "TIFF" else contextlib.nullcontext():
            return upright(picture)


def _open(file: BinaryIO) -> Image.Image:
    picture = Image.open(file, formats=FORMATS)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise BrokenPictureError(f"has too many pixels ({width:,} x {height:,})")
    return picture


def _opaque(picture: Image.Image) -> Image.Image:
    for paper in ("white", "black"):
        sheet = Image.new("RGBA", picture.size, paper)
        sheet.alpha_composite(picture)
        flat = sheet.convert("RGB")
        if any(low != high for low, high in flat.getextrema()):
            break
    return flat if has_colors(flat) else flat.convert("L")


_standard_error = threading.Lock()


@contextlib.contextmanager
def _libtiff_silenced() -> Iterator[None]:
    """libtiff itself writes to standard error what is wrong with a file. Pillow raises an error, too."""
    with _standard_error, open(os.devnull, "wb") as nowhere:
        before = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Turns what Pillow raises into BrokenPictureError. MemoryError, not the file's fault, stays."""
    try:
        yield
    except (BrokenPictureError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BrokenPictureError("is not a picture in a known format, or its beginning is damaged") from error
    except Image.DecompressionBombError as error:
        raise BrokenPictureError("has too many pixels") from error
    except Exception as error:  # Pillow raises errors of any kind for damaged files
        if isinstance(error, OSError) and error.strerror:
            raise BrokenPictureError(f"cannot be read ({error.strerror})", temporary=True) from error
        raise BrokenPictureError(f"is damaged ({on_one_line(error)[:100]})") from error
