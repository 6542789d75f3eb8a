"""Your own images: a folder for each class, in parts for training and test or all together."""

import hashlib
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import ConfigError, DataError
from ..files import user_path
from ..text import MOST_NAMED, counted, first_names, printable
from .cache import ReadImages, cached, user_cache
from .parallel import in_parallel
from .picture_files import (
    CODE_POINT,
    PARTS,
    PictureFile,
    find_pictures,
    folders_in,
    natural_order,
    renaming,
)
from .pictures import (
    DEEP,
    EIGHT_BITS,
    FULL,
    BrokenPictureError,
    Fitted,
    Range,
    TemporaryReason,
    as_bytes,
    fitted_or_reason,
    picture_size,
    range_of,
)
from .source import NOTHING, LabelledImages, Source
from .splits import connected, grouped_split, take_rows

log = logging.getLogger(__name__)

TEST_SIZE = 0.2  # share of the images that is held out if there is no test/, unless `test_size` says otherwise
LEAST_SIDE, MOST_SIDE = 28, 64  # pixels, where `image_size` does not say
MOST_MEASURED = 1_000  # files whose size is looked up to choose that of the images
MOST_REMEMBERED = 128  # training images by which their folder is known again


class Folder(Source):
    """Images in train/CLASS/, test/CLASS/ and, if you have them, val/CLASS/; or in CLASS/ alone.

    Everything is read and checked before training starts, so that you know of a damaged test image at once.

    Args:
        root: the folder.
        test_size: images held out as test images if there is no test/: a share below 1, or a number.
        image_size: height and width of the images; None: the median of the files' longer sides, but from 28 to 64.
        channels: 1 for gray, 3 for color; None: 3 if an image has colors.
        skip_broken: leave out files that cannot be read.
        group: a regular expression, searched in a file's path below its class's folder. Images in which it finds the
            same stay together, in training, validation or test; if it has a group in parentheses, that counts.
        cache: folder that keeps what was read; "auto": the user's cache folder; None: nothing is kept.
    """

    gives_away = True
    reads_test_images_first = True

    def __init__(
        self,
        root: str,
        test_size: float = TEST_SIZE,
        image_size: int | None = None,
        channels: int | None = None,
        skip_broken: bool = False,
        group: str | None = None,
        cache: str | None = "auto",
    ):
        self.root, self.test_size, self.channels, self.skip_broken = user_path(root), test_size, channels, skip_broken
        self.group = None if group is None else re.compile(group)
        self.size = None if image_size is None else (image_size, image_size)
        own_cache = user_cache() if cache == "auto" else None
        self.cache = own_cache and own_cache / "folder" if cache in ("auto", None) else user_path(cache)
        self.title = printable(self.root.absolute().name)
        self.class_names: tuple[str, ...] = ()
        self.class_characters: tuple[str, ...] | None = None
        self.details: dict[str, Any] = {}
        self.reading: dict[str, Any] = {}
        self._network_wants: tuple[int, int, int] | None = None
        self._parts: dict[str, LabelledImages] = {}

    def read_as(
        self, image_shape: tuple[int, int, int], class_names: tuple[str, ...], reading: Mapping[str, Any] = NOTHING
    ) -> None:
        """Prepare the images as those that a network was trained on, whatever else is in the folder now."""
        self._network_wants, self.class_names = image_shape, class_names
        self.size = image_shape[1:]
        self.reading = dict(reading)

    def prepare(self) -> None:
        """Find, read and check all images. Raises DataError, and ConfigError if `test_size` does not suit them."""
        files = self._find()
        self._name_classes(files)
        pictures = self._read(files)
        if pictures.broken:
            self._report_broken(files, pictures.broken)
        files = [file for place, file in enumerate(files) if place not in pictures.broken]
        label_of = {name: label for label, name in enumerate(self.class_names)}
        labels = np.array([label_of[file.class_name] for file in files])
        digests = [hashlib.blake2b(image.data, digest_size=16).digest() for image in pictures.images]
        groups = self._groups(files, digests)
        rows = self._split(files, labels, digests, groups)
        self._check_counts({part: labels[rows[part]] for part in PARTS})
        self._count_duplicates(files, labels, digests, rows)
        self.groups = torch.from_numpy(groups[rows["train"]])
        if not self._network_wants:
            seen = [key for row in rows["train"] for key in _keys(files[row], digests[row])]
            self.reading = {
                "ranges": {kind: list(scale) for kind, scale in pictures.ranges.items()},
                "trained_on": " ".join(sorted(seen)[: 2 * MOST_REMEMBERED]),
            }
        _, channels, height, width = pictures.images.shape
        log.info(
            "%s: %s of %d classes, in %s, %dx%d pixels",
            *(printable(str(self.root)), counted(len(files), "image"), len(self.class_names)),
            *("gray" if channels == 1 else "color", height, width),
        )
        images = torch.from_numpy(pictures.images)
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

    def _find(self) -> list[PictureFile]:
        return find_pictures(self.root)

    def _name_classes(self, files: Sequence[PictureFile]) -> None:
        """Learn the classes from the folders, or check the folders against the classes of a network."""
        in_folders: dict[str, PictureFile] = {}
        for file in files:
            in_folders.setdefault(file.class_name, file)
        learned = {file.class_name for file in files if file.part in ("train", "")}
        if not self._network_wants:
            self.class_names = tuple(sorted(learned, key=natural_order))
            if not learned:
                others = folders_in(self.root, os.path.realpath(self.root))
                raise DataError(f"{self.root / 'train'}: has no images{renaming(others)}")
        for name, file in in_folders.items():
            if name not in self.class_names:
                folder = self.root / Path(file.name).parent
                known = "a class that the network was trained on" if self._network_wants else "a class in train/"
                raise DataError(f"{folder}: is not {known}; rename or remove it")
        if len(self.class_names) < 2:
            raise DataError(
                f"{self.root}: has images of one class only, {self.class_names[0]}; two are the least, each in a folder"
                " of its own"
            )
        self.class_characters = _characters(self.class_names)

    def _read(self, files: Sequence[PictureFile]) -> ReadImages:
        """The files' pixels, from the cache if they were read before."""
        size = self.size or _typical_size(self.root, files)
        state = "\n".join(f"{file.name}\0{file.state}" for file in files)
        known = {kind: Range(*values) for kind, values in self.reading.get("ranges", {}).items()}

        def read(channels: int | None) -> ReadImages:
            origin = f"{os.path.realpath(self.root)}\n{size}\n{channels}" + (f"\n{known}" if known else "")
            return cached(self.cache, origin, state, lambda: read_pictures(self.root, files, size, channels, known))

        pictures = read(self.channels)
        if self._network_wants and len(pictures.images) and pictures.images.shape[1] != self._network_wants[0]:
            pictures = read(self._network_wants[0])
        for kind, scale in pictures.ranges.items():
            if kind != EIGHT_BITS or scale != FULL:
                log.info(
                    "%s: in the pictures with %s, %g is black and %g is white",
                    *(printable(str(self.root)), kind, *scale),
                )
        return pictures

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

    def _groups(self, files: Sequence[PictureFile], digests: Sequence[bytes]) -> np.ndarray:
        """Which images belong together: the same number for copies, pixel for pixel, and for what `group` finds."""
        keys: list[list[Any]] = [[digest] for digest in digests]
        if self.group is not None and not self._network_wants:
            unknown = []
            for own, file in zip(keys, files, strict=True):
                found = self.group.search(file.below_class)
                key = found and found[min(1, self.group.groups)]
                if key is None:
                    unknown.append(file.name)
                else:
                    own.append(key)
            if len(unknown) == len(files):
                pattern = self.group.pattern
                raise ConfigError(f"data.group={pattern}: is found in no file's name, such as {printable(unknown[0])}")
            if unknown:
                log.warning(
                    "%s: data.group is not found in %s, each of which is a group of its own: %s",
                    *(printable(str(self.root)), counted(len(unknown), "name"), first_names(unknown)),
                )
            named = len({own[1] for own in keys if len(own) > 1})
            log.info("%s: %s, each in one part only", printable(str(self.root)), counted(named, "group"))
        return connected(keys)

    def _split(
        self, files: Sequence[PictureFile], labels: np.ndarray, digests: Sequence[bytes], groups: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Rows of the images of each part."""
        parts = np.array([file.part or "train" for file in files])
        if "test" in parts and self.test_size != TEST_SIZE:
            log.info("data.test_size: not used, there is a test/")
        if "test" not in parts:
            if self._network_wants and self._are_new(files, digests):
                parts[:] = "test"
                return {part: np.flatnonzero(parts == part) for part in PARTS}
            if not self._network_wants:
                self._check_class_sizes(np.bincount(labels[parts == "train"], minlength=len(self.class_names)), 3)
            candidates = np.flatnonzero(parts == "train")
            names = [files[row].name for row in candidates]
            held_out = _held_out(names, labels[candidates], groups[candidates], self.test_size)
            parts[candidates[held_out]] = "test"
        return {part: np.flatnonzero(parts == part) for part in PARTS}

    def _are_new(self, files: Sequence[PictureFile], digests: Sequence[bytes]) -> bool:
        """Was the network trained on none of these images, as far as its record says?"""
        root, known = printable(str(self.root)), set(self.reading.get("trained_on", "").split())
        if not known:
            return False
        seen = [file.name for file, digest in zip(files, digests, strict=True) if known & set(_keys(file, digest))]
        if not seen:
            log.info("%s: all %s are tested, since the network was trained on none", root, counted(len(files), "image"))
            return True
        log.info(
            "%s: the network was trained on images of this folder, such as %s; tested are those that are held out",
            *(root, printable(seen[0])),
        )
        return False

    def _check_counts(self, labels: dict[str, np.ndarray]) -> None:
        if self._network_wants:  # it is trained already
            return
        self._check_class_sizes(np.bincount(labels["train"], minlength=len(self.class_names)), 2)
        tested = np.bincount(labels["test"], minlength=len(self.class_names))
        if missing := [name for name, count in zip(self.class_names, tested, strict=True) if not count]:
            log.warning("%s: no test images of %s", printable(str(self.root)), first_names(missing))

    def _check_class_sizes(self, counts: np.ndarray, least: int) -> None:
        """Raise DataError if a class has fewer images than one for each part that images are taken for."""
        if counts.min() < least:
            few = self.class_names[int(counts.argmin())]
            why = "to train, to validate and to test" if least == 3 else "to train and to validate"
            number = {2: "two", 3: "three"}[least]
            raise DataError(
                f"{self.root}: class {few} has {counted(int(counts.min()), 'image')}; {number} are the least, {why}"
            )

    def _count_duplicates(
        self, files: Sequence[PictureFile], labels: np.ndarray, digests: Sequence[bytes], rows: dict[str, np.ndarray]
    ) -> None:
        """Warn of images that are there twice, pixel for pixel: in two classes, or in two parts."""
        root = printable(str(self.root))
        first: dict[bytes, int] = {}
        pairs: dict[bytes, tuple[int, int]] = {}  # of the same image in two classes
        for row, digest in enumerate(digests):
            earlier = first.setdefault(digest, row)
            if labels[earlier] != labels[row]:
                pairs.setdefault(digest, (earlier, row))
        if pairs:
            named = [f"{files[one].name} = {files[other].name}" for one, other in pairs.values()]
            log.warning(
                "%s: %s in two classes: %s",
                *(root, "1 image is" if len(pairs) == 1 else f"{len(pairs):,} images are", first_names(named)),
            )
            self.details["images_in_two_classes"] = len(pairs)
        for part, others, name, what in (
            ("test", ("train", "val"), "test", "the test is too easy"),
            ("val", ("train",), "validation", "the choice of the best epoch is worse"),
        ):
            elsewhere = {digests[row]: row for other in others for row in rows[other]}
            twice = [row for row in rows[part] if digests[row] in elsewhere]
            if twice:
                example = f"{files[twice[0]].name} = {files[elsewhere[digests[twice[0]]]].name}"
                log.warning(
                    "%s: %d of %d %s images are training images, too, so %s (such as %s)",
                    *(root, len(twice), len(rows[part]), name, what, printable(example)),
                )
                self.details[f"{part}_images_in_training"] = len(twice)


def _keys(file: PictureFile, digest: bytes) -> tuple[str, str]:
    """By what an image is known again: its pixels; and its file, should they be decoded a little differently."""
    name = hashlib.blake2b(os.fsencode(f"{file.name}\0{file.state[:1]}"), digest_size=6)
    return digest[:6].hex(), name.hexdigest()


def _characters(names: Sequence[str]) -> tuple[str, ...] | None:
    """The characters of names that are all code points, such as U+4E00; None if they are not."""
    points = [int(point[1], 16) for name in names if (point := CODE_POINT.fullmatch(name))]
    printable_points = [point for point in points if point <= sys.maxunicode and chr(point).isprintable()]
    return tuple(map(chr, printable_points)) if len(printable_points) == len(names) else None


def _held_out(names: Sequence[str], labels: np.ndarray, groups: np.ndarray, test_size: float) -> np.ndarray:
    """Indices of the test images: of each class those whose names have the smallest digests. Groups stay together.

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
    if len(np.unique(groups)) < len(groups):
        return grouped_split(labels, groups, count, order, least_kept=2)
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


def read_pictures(
    root: Path,
    files: Sequence[PictureFile],
    size: tuple[int, int],
    channels: int | None,
    ranges: Mapping[str, Range] = NOTHING,
) -> ReadImages:
    """Read picture files into one array.

    Args:
        root: what the files' names are below.
        files: to be read.
        size: height and width of the images.
        channels: 1 for gray, 3 for color; None: 3 if an image has colors.
        ranges: what is black and white in pictures of a kind; those of other kinds have a range that suits all of them.
    """
    images = np.empty((len(files), channels or 1, *size), np.uint8)
    broken: dict[int, str] = {}
    deep: dict[int, np.ndarray] = {}
    of_eight_bits: list[int] = []
    extremes: dict[str, list[float]] = {}
    count = 0
    read = partial(_fitted_or_reason, root, size, channels)
    for place, found in enumerate(in_parallel(read, files, f"reading {printable(root.name)}")):
        if isinstance(found, str):
            broken[place] = found
            continue
        if len(found.values) > images.shape[1]:  # the first one with colors
            gray, images = images, np.empty((len(files), 3, *size), np.uint8)
            images[:count] = gray[:count]
        if found.kind == EIGHT_BITS:
            images[count] = found.values
            of_eight_bits.append(count)
        else:
            deep[count] = found.values
        extremes.setdefault(found.kind, []).extend((found.least, found.most))
        count += 1
    used = {kind: ranges.get(kind) or range_of(min(ends), max(ends)) for kind, ends in extremes.items()}
    for row, values in deep.items():
        images[row] = as_bytes(values, used[DEEP])
    if used.get(EIGHT_BITS, FULL) != FULL:
        images[of_eight_bits] = as_bytes(images[of_eight_bits], used[EIGHT_BITS])
    lasting = not any(isinstance(why, TemporaryReason) for why in broken.values())
    return ReadImages(images[:count], broken, lasting, used)


def _fitted_or_reason(root: Path, size: tuple[int, int], channels: int | None, file: PictureFile) -> Fitted | str:
    """A file's picture, or why it cannot be used."""
    if file.leads_outside:
        return "lies outside data.root" if file.name.startswith("..") else "is a link that leads out of the folder"
    return fitted_or_reason(root / file.name, *size, channels)
