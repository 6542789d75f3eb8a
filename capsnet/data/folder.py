"""Your own images: a folder for each class, in parts for training and test or all together."""

import hashlib
import logging
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import ConfigError, DataError
from ..files import user_path
from ..settings import data as settings
from ..text import counted, printable
from .cache import ReadImages, cached, user_cache
from .parallel import in_parallel
from .pictures import BrokenPictureError, TemporaryReason, is_picture_name, picture_size, pixels_or_reason
from .source import LabelledImages, Source
from .splits import take_rows

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
OTHER_NAMES = {"training": "train", "testing": "test", "validation": "val", "valid": "val"}
LEAST_SIDE, MOST_SIDE = 28, 64  # pixels, where `image_size` does not say
MOST_MEASURED = 1_000  # files whose size is looked up to choose that of the images
MOST_NAMED = 5  # files in a message
CODE_POINT = re.compile(r"U\+([0-9A-Fa-f]{4,6})")


class PictureFile(NamedTuple):
    """A file in a class's folder."""

    part: str
    """One of PARTS, or empty if the parts are not separate."""
    class_name: str
    name: str
    """Below the root, such as train/cat/1.png."""
    state: tuple[int, ...]
    """Size and times; empty if they cannot be found out."""
    leads_outside: bool
    """It is a link to a file that is not below the root."""


class Folder(Source):
    """Images in train/CLASS/, test/CLASS/ and, if you have them, val/CLASS/; or in CLASS/ alone.

    Everything is read and checked before training starts, so that you know of a damaged test image at once.

    Args:
        root: the folder.
        test_size: images held out as test images if there is no test/: a share below 1, or a number.
        image_size: height and width of the images; None: the median of the files' longer sides, but from 28 to 64.
        channels: 1 for gray, 3 for color; None: 3 if an image has colors.
        skip_broken: leave out files that cannot be read.
        cache: folder that keeps what was read; "auto": the user's cache folder; None: nothing is kept.
    """

    gives_away = True
    reads_test_images_first = True

    def __init__(
        self,
        root: str,
        test_size: float,
        image_size: int | None,
        channels: int | None,
        skip_broken: bool,
        cache: str | None,
    ):
        self.root, self.test_size, self.channels, self.skip_broken = user_path(root), test_size, channels, skip_broken
        self.size = None if image_size is None else (image_size, image_size)
        own_cache = user_cache() if cache == "auto" else None
        self.cache = own_cache and own_cache / "folder" if cache in ("auto", None) else user_path(cache)
        self.title = printable(self.root.absolute().name)
        self.class_names: tuple[str, ...] = ()
        self.class_characters: tuple[str, ...] | None = None
        self.details: dict[str, Any] = {}
        self._network_wants: tuple[int, int, int] | None = None
        self._parts: dict[str, LabelledImages] = {}

    def read_as(self, image_shape: tuple[int, int, int], class_names: tuple[str, ...]) -> None:
        """Prepare the images as those that a network was trained on, whatever else is in the folder now."""
        self._network_wants, self.class_names = image_shape, class_names
        self.size = image_shape[1:]

    def prepare(self) -> None:
        """Find, read and check all images. Raises DataError, and ConfigError if `test_size` does not suit them."""
        files = find_pictures(self.root)
        self._name_classes(files)
        found = self._read(files)
        if found.broken:
            self._report_broken(files, found.broken)
        files = [file for place, file in enumerate(files) if place not in found.broken]
        label_of = {name: label for label, name in enumerate(self.class_names)}
        labels = np.array([label_of[file.class_name] for file in files])
        rows = self._split(files, labels)
        self._check_counts({part: labels[rows[part]] for part in PARTS})
        self._count_duplicates(files, found.images, rows)
        _, channels, height, width = found.images.shape
        log.info(
            "%s: %s of %d classes, in %s, %dx%d pixels",
            *(printable(str(self.root)), counted(len(files), "image"), len(self.class_names)),
            *("gray" if channels == 1 else "color", height, width),
        )
        images = torch.from_numpy(found.images)
        for part in ("val", "test", "train"):  # the last one in place, so that the array is not there twice
            taken = take_rows(images, torch.from_numpy(rows[part]), in_place=part == "train")
            self._parts[part] = LabelledImages(taken, torch.from_numpy(labels[rows[part]]))

    def train(self) -> LabelledImages:
        """Once only: the caller then owns the images."""
        return self._parts.pop("train")

    def val(self) -> LabelledImages | None:
        """The images in val/; None if there is no such folder."""
        return self._parts["val"] if len(self._parts["val"].labels) else None

    def test(self) -> LabelledImages:
        return self._parts["test"]

    def _name_classes(self, files: Sequence[PictureFile]) -> None:
        """Learn the classes from the folders, or check the folders against the classes of a network."""
        in_folders: dict[str, PictureFile] = {}
        for file in files:
            in_folders.setdefault(file.class_name, file)
        learned = {file.class_name for file in files if file.part in ("train", "")}
        if not self._network_wants:
            self.class_names = tuple(sorted(learned, key=natural_order))
            if not learned:
                raise DataError(f"{self.root / 'train'}: has no images{_renaming(_subfolders(self.root))}")
        for name, file in in_folders.items():
            if name not in self.class_names:
                folder = self.root / Path(file.name).parent
                known = "a class that the network was trained on" if self._network_wants else "a class in train/"
                raise DataError(f"{folder}: is not {known}; rename or remove it")
        if len(self.class_names) < 2:
            raise DataError(f"{self.root}: has images of one class only, {self.class_names[0]}; two are the least")
        self.class_characters = _characters(self.class_names)

    def _read(self, files: Sequence[PictureFile]) -> ReadImages:
        """The files' pixels, from the cache if they were read before."""
        size = self.size or _typical_size(self.root, files)
        state = "\n".join(f"{file.name}\0{file.state}" for file in files)

        def read(channels: int | None) -> ReadImages:
            origin = f"{os.path.realpath(self.root)}\n{size}\n{channels}"
            return cached(self.cache, origin, state, lambda: read_pictures(self.root, files, size, channels))

        found = read(self.channels)
        if self._network_wants and len(found.images) and found.images.shape[1] != self._network_wants[0]:
            found = read(self._network_wants[0])
        return found

    def _report_broken(self, files: Sequence[PictureFile], broken: dict[int, str]) -> None:
        named = [f"{printable(files[place].name)} {why}" for place, why in broken.items()]
        shown = "; ".join(named[:MOST_NAMED])
        if len(named) > MOST_NAMED:
            shown += f"; and {len(named) - MOST_NAMED:,} more"
        what = f"{printable(str(self.root))}: {counted(len(named), 'file')} cannot be used: {shown}"
        if not self.skip_broken or len(broken) == len(files):
            raise DataError(f"{what}. Repair or remove them, or set data.skip_broken=true to leave them out")
        log.warning("%s. Left out", what)
        self.details["left_out"] = {printable(files[place].name): why for place, why in broken.items()}

    def _split(self, files: Sequence[PictureFile], labels: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of the images of each part."""
        parts = np.array([file.part or "train" for file in files])
        if "test" in parts and self.test_size != settings.Folder.test_size:
            log.info("data.test_size: not used, there is a test/")
        if "test" not in parts:
            if not self._network_wants:
                self._check_class_sizes(np.bincount(labels[parts == "train"], minlength=len(self.class_names)), 3)
            candidates = np.flatnonzero(parts == "train")
            names = [files[row].name for row in candidates]
            parts[candidates[_held_out(names, labels[candidates], self.test_size)]] = "test"
        return {part: np.flatnonzero(parts == part) for part in PARTS}

    def _check_counts(self, labels: dict[str, np.ndarray]) -> None:
        if self._network_wants:  # it is trained already
            return
        self._check_class_sizes(np.bincount(labels["train"], minlength=len(self.class_names)), 2)
        tested = np.bincount(labels["test"], minlength=len(self.class_names))
        if missing := [name for name, count in zip(self.class_names, tested, strict=True) if not count]:
            log.warning("%s: no test images of %s", printable(str(self.root)), _shortened(missing))

    def _check_class_sizes(self, counts: np.ndarray, least: int) -> None:
        """Raise DataError if a class has fewer images than one for each part that images are taken for."""
        if counts.min() < least:
            few = self.class_names[int(counts.argmin())]
            why = "to train, to validate and to test" if least == 3 else "to train and to validate"
            number = {2: "two", 3: "three"}[least]
            raise DataError(
                f"{self.root}: class {few} has {counted(int(counts.min()), 'image')}; {number} are the least, {why}"
            )

    def _count_duplicates(self, files: Sequence[PictureFile], images: np.ndarray, rows: dict[str, np.ndarray]) -> None:
        """Warn of test images and images in val/ that are training images, too, pixel for pixel."""
        digests = [hashlib.blake2b(image.data, digest_size=16).digest() for image in images]
        for part, others, name, what in (
            ("test", ("train", "val"), "test", "the test is too easy"),
            ("val", ("train",), "validation", "the choice of the best epoch is worse"),
        ):
            elsewhere = {digests[row]: row for other in others for row in rows[other]}
            twice = [row for row in rows[part] if digests[row] in elsewhere]
            if twice:
                first = f"{files[twice[0]].name} = {files[elsewhere[digests[twice[0]]]].name}"
                log.warning(
                    "%s: %d of %d %s images are training images, too, so %s (such as %s)",
                    *(printable(str(self.root)), len(twice), len(rows[part]), name, what, printable(first)),
                )
                self.details[f"{part}_images_in_training"] = len(twice)


def find_pictures(root: Path) -> list[PictureFile]:
    """The picture files in a folder's classes: part by part, class by class, in natural order.

    Raises:
        DataError: there are none, a folder cannot be read, or a link leads out of the folder.
    """
    try:
        if not root.is_dir():
            raise DataError(f"data.root={root}: there is no such folder")
        inside = os.path.realpath(root)
        folders = _folders(root, inside)
        has_parts = any(name in folders and _folders(root / name, inside) for name in ("train", "test"))
        _refuse_flat_parts(root, folders, inside, has_parts)
        parts = [part for part in PARTS if part in folders] if has_parts else [""]
        if has_parts and (others := [name for name in folders if name not in PARTS]):
            log.warning(
                "%s: not read: %s; only train, val and test are%s",
                *(printable(str(root)), _shortened(others), _renaming(others)),
            )
        files: list[PictureFile] = []
        ignored: list[str] = []
        empty: list[Path] = []
        for part in parts:
            for folder in _folders(root / part, inside) if part else folders:
                before = len(files)
                _add_class(files, ignored, part, str(Path(part, folder)), root, inside)
                empty += [] if len(files) > before else [root / part / folder]
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read ({error.strerror})") from error
    if not files:
        raise DataError(f"{root}: has no images in train/CLASS/ and test/CLASS/, or in CLASS/{_hint(root, folders)}")
    if empty:
        raise DataError(f"{empty[0]}: has no images; put some there, or remove the folder")
    if ignored:
        log.warning("%s: not read, as they do not end as images do: %s", printable(str(root)), _shortened(ignored))
    return files


def _refuse_flat_parts(root: Path, folders: Sequence[str], inside: str, has_parts: bool) -> None:
    """Raise DataError for a part in which images lie without class folders. A class may be called train."""
    only_parts = has_parts or set(folders) <= set(PARTS)
    for part in PARTS if only_parts else ("val", "test"):
        if part in folders and not _folders(root / part, inside) and any(map(is_picture_name, os.listdir(root / part))):
            raise DataError(
                f"{root / part}: has images but no class folders; sort them into {part}/CLASS/, or move them out"
            )


def _add_class(files: list[PictureFile], ignored: list[str], part: str, folder: str, root: Path, inside: str) -> None:
    """Add the pictures of a class's folder to the files, and what else is there to those that are ignored."""
    class_name = printable(unicodedata.normalize("NFC", Path(folder).name))
    found = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not is_picture_name(entry.name) or entry.is_dir():
                ignored.append(f"{folder}/{entry.name}")
                continue
            leads_outside = entry.is_symlink() and not _is_below(entry.path, inside)
            try:
                about = entry.stat()
                state = (about.st_size, about.st_mtime_ns, about.st_ctime_ns)  # the last also shows changed rights
            except OSError:
                state = ()
            found.append(PictureFile(part, class_name, f"{folder}/{entry.name}", state, leads_outside))
    files += sorted(found, key=lambda file: natural_order(file.name))


def _folders(folder: Path, inside: str) -> list[str]:
    """Names of the folders in a folder, in natural order. Raises DataError for a link that leads out of `inside`."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    for entry in found:
        if entry.is_symlink() and not _is_below(entry.path, inside):
            raise DataError(f"{entry.path}: a link that leads out of the folder; move or copy its images here")
    return sorted((entry.name for entry in found), key=natural_order)


def _is_below(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _subfolders(folder: Path) -> list[str]:
    return _folders(folder, os.path.realpath(folder))


def _renaming(folders: Sequence[str]) -> str:
    """Which folders are probably meant as parts, but have other names."""
    meant = {name: OTHER_NAMES.get(name.lower(), name.lower()) for name in folders if name not in PARTS}
    pairs = sorted(
        ((name, part) for name, part in meant.items() if part in PARTS), key=lambda pair: PARTS.index(pair[1])
    )
    if not pairs:
        return ""
    given, wanted = (" and ".join(f"{printable(name)}/" for name in names) for names in zip(*pairs, strict=True))
    return f"; {given} must be called {wanted}"


def _hint(root: Path, folders: Sequence[str]) -> str:
    """Where the images may be: in folders with other names, or one level further down."""
    if renaming := _renaming(folders):
        return renaming
    if len(folders) == 1 and any(path.is_dir() for path in (root / folders[0]).iterdir()):
        return f"; did you mean data.root={root / folders[0]}?"
    return ""


def _shortened(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(map(printable, names[:MOST_NAMED]))
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED:,} more"


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """A key by which numbers within names are sorted by their value, 2 before 10; and code points, U+9 before U+10."""
    if point := CODE_POINT.fullmatch(name):
        return [(False, int(point[1], 16), name)]
    pieces = re.split(r"([0-9]+)", name)
    return [(piece.isdecimal(), int(piece) if piece.isdecimal() else 0, piece) for piece in pieces]


def _characters(names: Sequence[str]) -> tuple[str, ...] | None:
    """The characters of names that are all code points, such as U+4E00; None if they are not."""
    points = [int(found[1], 16) for name in names if (found := CODE_POINT.fullmatch(name))]
    printable_points = [point for point in points if point <= sys.maxunicode and chr(point).isprintable()]
    return tuple(map(chr, printable_points)) if len(printable_points) == len(names) else None


def _held_out(names: Sequence[str], labels: np.ndarray, test_size: float) -> np.ndarray:
    """Indices of the test images: of each class those whose names have the smallest digests.

    So they never move: another seed chooses the same, and a new image leaves nearly all where they are. Two images of
    each class always stay.
    """
    count = round(test_size * len(names)) if test_size < 1 else int(test_size)
    classes = Counter(labels.tolist())
    least, most = len(classes), sum(max(0, own - 2) for own in classes.values())
    if not least <= count <= most:
        possible = f"; set data.test_size={least} to {most:,}" if least <= most else ""
        raise ConfigError(
            f"data.test_size={test_size:g}: cannot hold out {count:,} of {len(names):,} images"
            f" so that one of each of the {least} classes is held out, and two stay{possible}"
        )
    order = sorted(range(len(names)), key=lambda row: hashlib.sha256(os.fsencode(names[row])).digest())
    seen: Counter[int] = Counter()
    places = np.empty(len(names))
    for row in order:
        label = int(labels[row])
        stays = seen[label] >= classes[label] - 2
        places[row] = np.inf if stays else seen[label] / classes[label]  # from 0 to 1 within each class
        seen[label] += 1
    return np.argsort(places, kind="stable")[:count]


def _typical_size(root: Path, files: Sequence[PictureFile]) -> tuple[int, int]:
    """Height and width for images from these files: the median of the longer sides, within limits."""
    step = -(-len(files) // MOST_MEASURED)
    paths = [root / file.name for file in files[::step] if not file.leads_outside]
    sides = [side for side in map(_longer_side, paths) if side is not None]
    side = min(MOST_SIDE, max(LEAST_SIDE, round(float(np.median(sides))))) if sides else MOST_SIDE
    return side, side


def _longer_side(path: Path) -> int | None:
    try:
        return max(picture_size(path))
    except BrokenPictureError:
        return None


def read_pictures(root: Path, files: Sequence[PictureFile], size: tuple[int, int], channels: int | None) -> ReadImages:
    """Read picture files into one array.

    Args:
        root: what the files' names are below.
        files: to be read.
        size: height and width of the images.
        channels: 1 for gray, 3 for color; None: 3 if an image has colors.
    """
    images = np.empty((len(files), channels or 1, *size), np.uint8)
    broken: dict[int, str] = {}
    count = 0
    read = partial(_pixels_or_reason, root, size, channels)
    for place, pixels in enumerate(in_parallel(read, files, f"reading {printable(root.name)}")):
        if isinstance(pixels, str):
            broken[place] = pixels
            continue
        if len(pixels) > images.shape[1]:  # the first one with colors
            gray, images = images, np.empty((len(files), 3, *size), np.uint8)
            images[:count] = gray[:count]
        images[count] = pixels
        count += 1
    lasting = not any(isinstance(why, TemporaryReason) for why in broken.values())
    return ReadImages(images[:count], broken, lasting)


def _pixels_or_reason(root: Path, size: tuple[int, int], channels: int | None, file: PictureFile) -> np.ndarray | str:
    """A file's pixels, or why it cannot be used."""
    if file.leads_outside:
        return "is a link that leads out of the folder"
    return pixels_or_reason(root / file.name, *size, channels)
