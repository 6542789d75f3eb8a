"""Picture files and pictures in memory as pixels of one size: upright, opaque, 8 bits. Imports no torch."""

import contextlib
import hashlib
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from ..text import on_one_line

SUFFIXES = frozenset(
    [
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
        *(".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
    ]
)
"""Of the files that are read as pictures, in lower case. Others are if they begin as pictures do, see `BEGINNINGS`."""

RAW_SUFFIXES = frozenset([".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"])
"""Of what cameras save before they develop it to a picture. Many begin as TIFF files do."""

FORMATS = (
    *("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000"),
    *(("AVIF",) if features.check("avif") else ()),
)
"""Of Pillow's. It knows others, some of which start programs."""

BEGINNINGS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0|GIF8[79]a|II\*\0|MM\0\*"
    rb"|RIFF....WEBP|P[1-6]\s|\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n|....ftyp(avif|avis|heic|heix|hevc|heim|mif1|msf1)",
    re.DOTALL,
)
"""How the content of a picture file begins, whatever its name says."""

BEGINNING_BYTES = 24  # that tell what a file is
HEIF = re.compile(rb"....ftyp(heic|heix|hevc|heim|mif1|msf1)", re.DOTALL)
OTHER_FILES = {
    re.compile(rb"\s*<(!doctype|html)", re.IGNORECASE): "a web page",
    re.compile(rb"\s*<(\?xml|svg)", re.IGNORECASE): "an XML or SVG file",
    re.compile(rb"%PDF"): "a PDF file",
    re.compile(rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc"): "an archive; unpack it",
    re.compile(rb"\x93NUMPY"): "a NumPy array",
}
"""What people take for pictures, by the beginning of its content."""

DIGEST_BYTES = 5  # of a file's content: of 50,000 files, hardly two share one
MOST_PIXELS = 90_000_000
MOST_BYTES = 2**30
LEAST_CONTRAST = 16  # between what is drawn on transparent ground and the paper under it, to be seen
LEAST_COLOR = 16  # difference between a pixel's channels; below it, a picture that is saved in color counts as gray

# A file is read or refused; what Pillow thinks odd about it helps nobody. Not catch_warnings: threads read pictures.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Range(NamedTuple):
    """The values that stand for black and white in pictures."""

    black: float
    white: float


FULL = Range(0, 255)
EIGHT_BITS, DEEP = "8 bits", "more than 8 bits"
"""The kinds of pictures that have a range of their own: those in mode L or RGB, and those in mode F."""

Ranges = Mapping[str, Range]
"""The ranges of a dataset's pictures, by kind. Those of a picture whose kind is not named are its own."""


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


def has_picture_name(name: str | Path) -> bool:
    """Does a file's name end as that of a picture?"""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_picture(path: str | Path) -> bool:
    """Does a file's name end as that of a picture, or its content begin so? A file that cannot be read is none."""
    if has_picture_name(path):
        return True
    if os.path.splitext(path)[1].lower() in RAW_SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            return BEGINNINGS.match(file.read(BEGINNING_BYTES)) is not None
    except OSError:
        return False


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
    return decode_picture(_content(path), at_least)


def decode_picture(content: bytes, at_least: int | None = None) -> Image.Image:
    """The same of what a file contains. Raises BrokenPictureError."""
    with _reasons():
        if not content:
            raise BrokenPictureError("is empty")
        return _decoded(content, at_least)


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF data say, in mode L or RGB; or in mode F, as it is, if it has more than 8 bits.

    What is transparent becomes white, or black if nothing would be seen on white.

    Raises:
        BrokenPictureError: it has values that are NaN or infinite.
    """
    picture.load()
    with contextlib.suppress(
        Exception
    ):  # EXIF data may be damaged in any way; viewers then show the picture as it lies
        picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":
        values = np.asarray(picture).astype(np.float32)
        if not np.isfinite(values).all():
            raise BrokenPictureError("has values that are NaN or infinite")
        return Image.fromarray(values)
    if picture.has_transparency_data:
        return _opaque(picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    return picture.convert("RGB")


class Fitted(NamedTuple):
    """A picture in its final size, before its values become bytes."""

    values: np.ndarray
    """[channels, height, width], uint8; or float32 of a picture with more than 8 bits."""
    least: float
    """Of the picture in its own size."""
    most: float
    file_digest: bytes = b""
    """Of the file's content, `DIGEST_BYTES`."""

    @property
    def kind(self) -> str:
        return EIGHT_BITS if self.values.dtype == np.uint8 else DEEP


def fitted(picture: Image.Image, height: int, width: int, channels: int | None = None) -> Fitted:
    """A picture scaled to fit into height x width pixels, its proportions kept, the rest filled like its border.

    Args:
        picture: as `upright` gives it.
        height, width: of the result.
        channels: 1 for gray, 3 for color; None: 3 if the picture has colors.
    """
    least, most = _extremes(picture)
    scale = min(height / picture.height, width / picture.width)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)  # Pillow's takes the mean over what becomes a pixel
    if channels is None:
        channels = 3 if has_colors(picture) else 1
    if picture.mode != "F":
        picture = picture.convert("L" if channels == 1 else "RGB")
    pixels = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
    pixels = np.broadcast_to(pixels, (channels, *pixels.shape[1:]))
    if pixels.shape[1:] != (height, width):
        filled = np.empty((channels, height, width), pixels.dtype)
        filled[:] = np.median(border(pixels), axis=1).astype(pixels.dtype)[:, None, None]
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        filled[:, top : top + size[1], left : left + size[0]] = pixels
        pixels = filled
    return Fitted(np.ascontiguousarray(pixels), least, most)


def _extremes(picture: Image.Image) -> tuple[float, float]:
    """The least and the largest value of a picture, over its channels."""
    found = picture.getextrema()
    pairs = found if isinstance(found[0], tuple) else (found,)
    return float(min(low for low, _ in pairs)), float(max(high for _, high in pairs))


def range_of(least: float, most: float) -> Range:
    """What is black and what is white in pictures whose values go from `least` to `most`.

    Cameras and scanners with 10, 12 or 14 bits write files of 16, and masks have the values 0 and 1. So white is the
    largest number with as many bits as `most`. Values that are no whole numbers, or below 0, are used from end to end.
    """
    if least == most == 0:
        return FULL
    if least < 0 or most != int(most):
        return Range(min(0, least), most)
    return Range(0, 2 ** int(most).bit_length() - 1)


def as_bytes(values: np.ndarray, scale: Range) -> np.ndarray:
    """Values as uint8: 0 for what is black, 255 for what is white, or beyond."""
    if values.dtype == np.uint8 and scale == FULL:
        return values
    share = (values.astype(np.float64) - scale.black) / (scale.white - scale.black)
    return np.floor(share.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def to_pixels(
    picture: Image.Image, height: int, width: int, channels: int | None = None, ranges: Ranges | None = None
) -> np.ndarray:
    """A picture as bytes, as `fitted` scales it.

    Args:
        picture: as `upright` gives it.
        height, width, channels: as of `fitted`.
        ranges: of the dataset that the picture is to look like. Without a range for its kind, one with 8 bits stays as
            it is, and another one is seen in its own range.

    Returns:
        [channels, height, width] uint8.
    """
    return _in_range(fitted(picture, height, width, channels), ranges)


def _in_range(found: Fitted, ranges: Ranges | None) -> np.ndarray:
    own = FULL if found.kind == EIGHT_BITS else range_of(found.least, found.most)
    return as_bytes(found.values, (ranges or {}).get(found.kind, own))


def read_fitted(path: Path, height: int, width: int, channels: int | None = None) -> Fitted:
    """A file as `fitted` gives it. Raises BrokenPictureError."""
    content = _content(path)
    found = fitted(decode_picture(content, max(height, width)), height, width, channels)
    return found._replace(file_digest=hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest())


def read_pixels(
    path: Path, height: int, width: int, channels: int | None = None, ranges: Ranges | None = None
) -> np.ndarray:
    """A file as `to_pixels` gives it. Raises BrokenPictureError."""
    return to_pixels(read_picture(path, max(height, width)), height, width, channels, ranges)


def fitted_or_reason(path: Path, height: int, width: int, channels: int | None = None) -> Fitted | str:
    """A file as `fitted` gives it, or why it cannot be read: a TemporaryReason if it may be readable another time."""
    try:
        return read_fitted(path, height, width, channels)
    except BrokenPictureError as error:
        return TemporaryReason(error) if error.temporary else str(error)


def pixels_or_reason(
    path: Path, height: int, width: int, channels: int | None = None, ranges: Ranges | None = None
) -> np.ndarray | str:
    """The same as `to_pixels` gives it."""
    found = fitted_or_reason(path, height, width, channels)
    return found if isinstance(found, str) else _in_range(found, ranges)


def has_colors(picture: Image.Image) -> bool:
    """Is a picture in mode RGB not only saved in color, but colored?

    Of a file with 16 bits in each color, Pillow reads the upper 8. If 12 or fewer are used, these are 15 at most.
    """
    if picture.mode != "RGB":
        return False
    red, green, blue = np.moveaxis(np.asarray(picture), 2, 0)  # numpy is slow along an axis of three
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    differs = int((most - least).max())
    return differs > LEAST_COLOR or (int(most.max()) <= LEAST_COLOR and differs > 1)


def border(pixels: np.ndarray) -> np.ndarray:
    """The pixels along the edges, [..., height, width] -> [..., n]."""
    rows, columns = pixels[..., [0, -1], :], pixels[..., 1:-1, [0, -1]]
    return np.concatenate([side.reshape(*pixels.shape[:-2], -1) for side in (rows, columns)], axis=-1)


def _content(path: Path) -> bytes:
    with _reasons(), _opened(path) as file:
        return file.read()


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
    beginning = file.read(BEGINNING_BYTES)
    file.seek(0)
    picture = Image.open(file, formats=_formats_of(beginning))
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise BrokenPictureError(f"has too many pixels ({width:,} x {height:,})")
    return picture


def _formats_of(beginning: bytes) -> tuple[str, ...]:
    """Pillow's formats for a file that begins so. Raises BrokenPictureError if it is known to be something else."""
    if HEIF.match(beginning):
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise BrokenPictureError(
                "is a HEIC picture of a phone: pip install pillow-heif, or save it as JPEG"
            ) from error
        register_heif_opener()
        return ("HEIF",)
    for other, what in OTHER_FILES.items():
        if other.match(beginning):
            raise BrokenPictureError(f"is no picture but {what}")
    return FORMATS


def _opaque(picture: Image.Image) -> Image.Image:
    for paper in ("white", "black"):
        sheet = Image.new("RGBA", picture.size, paper)
        sheet.alpha_composite(picture)
        flat = sheet.convert("RGB")
        if any(high - low > LEAST_CONTRAST for low, high in flat.getextrema()):
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
