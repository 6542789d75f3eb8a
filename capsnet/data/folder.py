"""Your own images: a folder for each class, in parts for training and test or all together."""

import base64
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
from .cache import ReadImages, cached, user_cache, warn_not_kept
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
    DIGEST_BYTES,
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

TEST_SIZE = 0.2  # share held out if there is no test/, at least one of each class, unless `test_size` says otherwise
LEAST_SIDE, MOST_SIDE = 28, 64  # pixels, where `image_size` does not say
MOST_MEASURED = 1_000  # files whose size is looked up to choose that of the images
DARK = 25  # of 255; a picture in which nothing is brighter may have another range than the others


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

    advice_on_classes = ", each in a folder of its own"
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
        if cache == "auto":
            own = user_cache()
            self.cache = own and own / "folder"
            if own is None:
                warn_not_kept("~", "there is no home folder")
        else:
            self.cache = None if cache is None else user_path(cache)
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
        self._report_dark(files, pictures.images)
        names = self._group_names(files)
        groups = connected([[digest, *name] for digest, name in zip(digests, names, strict=True)])
        known = self._known(pictures.file_digests)
        rows = self._split(files, labels, groups, known)
        self._check_counts({part: labels[rows[part]] for part in PARTS})
        self._count_duplicates(files, labels, digests, rows)
        self._count_groups(names, rows)
        self.groups = torch.from_numpy(groups[rows["train"]])
        if not self._network_wants:
            seen = pictures.file_digests[np.concatenate([rows["train"], rows["val"]])]
            self.reading = {
                "ranges": {kind: list(scale) for kind, scale in pictures.ranges.items()},
                "trained_files": base64.b64encode(seen.tobytes()).decode(),
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
            extras = self._extras([files[row] for row in rows[part]])
            self._parts[part] = LabelledImages(taken, torch.from_numpy(labels[rows[part]]), extras)

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

    def _origin(self) -> str:
        """Tells apart, in the cache, what names pictures; an older state of the same is removed there."""
        return os.path.realpath(self.root)

    def _where(self, file: PictureFile) -> str:
        """What says that a file is of its class, for errors."""
        return str(self.root / Path(file.name).parent)

    def _extras(self, files: Sequence[PictureFile]) -> dict[str, torch.Tensor]:
        """What else is known of some files' images."""
        return {}

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
                known = "a class that the network was trained on" if self._network_wants else "a class in train/"
                raise DataError(f"{self._where(file)}: is not {known}; rename or remove it")
        if len(self.class_names) < 2:
            raise DataError(
                f"{self.root}: has images of one class only, {self.class_names[0]}; two are the least"
                f"{self.advice_on_classes}"
            )
        self.class_characters = _characters(self.class_names)

    def _read(self, files: Sequence[PictureFile]) -> ReadImages:
        """The files' pixels, from the cache if they were read before."""
        size = self.size or _typical_size(self.root, files)
        state = "\n".join(f"{file.name}\0{file.state}" for file in files)
        known = {kind: Range(*values) for kind, values in self.reading.get("ranges", {}).items()}

        def read(channels: int | None) -> ReadImages:
            origin = f"{self._origin()}\n{size}\n{channels}" + (f"\n{known}" if known else "")
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
        if len(broken) == len(files):
            raise DataError(f"{what}. None is left: is data.root={self.root} the folder of the pictures?")
        if not self.skip_broken:
            raise DataError(f"{what}. Repair or remove them, or set data.skip_broken=true to leave them out")
        log.warning("%s. Left out", what)
        self.details["left_out"] = {printable(files[place].name): why for place, why in broken.items()}

    def _report_dark(self, files: Sequence[PictureFile], images: np.ndarray) -> None:
        """Warn of pictures that are nearly black beside the others: perhaps their values mean something else."""
        most = images.max(axis=(1, 2, 3))
        dark = np.flatnonzero((most > 0) & (most <= DARK))
        if len(dark):
            log.warning(
                "%s: %d of %s are nearly black, such as %s; if they look bright elsewhere, their values have another"
                " range than those of the others: save all in one",
                *(printable(str(self.root)), len(dark), counted(len(files), "picture"), printable(files[dark[0]].name)),
            )

    def _group_setting(self) -> str | None:
        """KEY=VALUE of what puts images into groups."""
        return None if self.group is None else f"data.group={self.group.pattern}"

    def _group_of(self, file: PictureFile) -> str:
        """The name of a file's group; empty if it is in none."""
        assert self.group is not None
        match = self.group.search(file.below_class)
        return next(filter(None, match.groups()), match[0]) if match else ""

    def _group_names(self, files: Sequence[PictureFile]) -> list[list[str]]:
        """The name of each file's group, or none."""
        setting = self._group_setting()
        if setting is None or self._network_wants:
            return [[] for _ in files]
        names = [[name] if (name := self._group_of(file)) else [] for file in files]
        unknown = [file.name for file, name in zip(files, names, strict=True) if not name]
        if len(unknown) == len(files):
            raise ConfigError(f"{setting}: gives no file a group, neither {printable(unknown[0])} nor the others")
        if unknown:
            log.warning(
                "%s: %s gives no group to %s, each of which is a group of its own: %s",
                *(printable(str(self.root)), setting, counted(len(unknown), "file"), first_names(unknown)),
            )
        elif len({name for (name,) in names}) == 1:
            raise ConfigError(f"{setting}: gives all files the same group, {printable(names[0][0])}")
        return names

    def _known(self, file_digests: np.ndarray) -> np.ndarray | None:
        """Which files the network was trained on, [n] bool. None if there is no network, or its record does not say."""
        recorded = self.reading.get("trained_files")
        if not self._network_wants or recorded is None:
            return None
        content = base64.b64decode(recorded)
        trained = {content[place : place + DIGEST_BYTES] for place in range(0, len(content), DIGEST_BYTES)}
        return np.array([digest.tobytes() in trained for digest in file_digests])

    def _split(
        self, files: Sequence[PictureFile], labels: np.ndarray, groups: np.ndarray, known: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Rows of the images of each part."""
        parts = np.array([file.part or "train" for file in files])
        if "test" in parts and self.test_size != TEST_SIZE:
            log.info("data.test_size: not used, there is a test/")
        if "test" not in parts and known is not None:
            self._report_known(known)
            parts = np.where(known, "train", "test")
        elif "test" not in parts:
            if not self._network_wants:
                self._check_class_sizes(np.bincount(labels[parts == "train"], minlength=len(self.class_names)), 3)
            candidates = np.flatnonzero(parts == "train")
            names = [files[row].name for row in candidates]
            held_out = _held_out(names, labels[candidates], groups[candidates], self.test_size)
            parts[candidates[held_out]] = "test"
        return {part: np.flatnonzero(parts == part) for part in PARTS}

    def _report_known(self, known: np.ndarray) -> None:
        root, count = printable(str(self.root)), counted(len(known), "image")
        if known.all():
            raise DataError(f"{root}: the network was trained on all {count}, so none can be tested")
        if known.any():
            log.info(
                "%s: the network was trained on %d of %s; the other %d are tested",
                *(root, known.sum(), count, len(known) - known.sum()),
            )
        else:
            log.info("%s: all %s are tested, since the network was trained on none", root, count)

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

    def _count_groups(self, names: Sequence[Sequence[str]], rows: dict[str, np.ndarray]) -> None:
        """Say how many groups there are, and warn of those that the given parts tear apart."""
        groups = Counter(name for part in PARTS for name in {name for row in rows[part] for name in names[row]})
        if not groups:
            return
        torn = sorted((name for name, parts in groups.items() if parts > 1), key=natural_order)
        root, count = printable(str(self.root)), counted(len(groups), "group")
        if torn:
            log.warning(
                "%s: %d of %s are in more than one of train, val and test, so the test is too easy: %s",
                *(root, len(torn), count, first_names(torn)),
            )
            self.details["groups_in_several_parts"] = len(torn)
        else:
            log.info("%s: %s, each in one part only", root, count)


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
    classes = Counter(labels.tolist())
    count = round(test_size * len(names)) if test_size < 1 else int(test_size)
    if test_size == TEST_SIZE:
        count = max(count, len(classes))
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
    file_digests: list[bytes] = []
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
        file_digests.append(found.file_digest)
        count += 1
    used = {kind: ranges.get(kind) or range_of(min(ends), max(ends)) for kind, ends in extremes.items()}
    for row, values in deep.items():
        images[row] = as_bytes(values, used[DEEP])
    if used.get(EIGHT_BITS, FULL) != FULL:
        images[of_eight_bits] = as_bytes(images[of_eight_bits], used[EIGHT_BITS])
    lasting = not any(isinstance(why, TemporaryReason) for why in broken.values())
    digests = np.frombuffer(b"".join(file_digests), np.uint8).reshape(-1, DIGEST_BYTES)
    return ReadImages(images[:count], digests, broken, lasting, used)


def _fitted_or_reason(root: Path, size: tuple[int, int], channels: int | None, file: PictureFile) -> Fitted | str:
    """A file's picture, or why it cannot be used."""
    if file.leads_outside:
        return "lies outside data.root" if file.name.startswith("..") else "is a link that leads out of the folder"
    return fitted_or_reason(root / file.name, *size, channels)
