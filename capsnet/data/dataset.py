"""A dataset's images, split into training, validation and test."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, DataError
from ..files import combined_digest
from ..text import first_names
from .pictures import border
from .source import NOTHING, LabelledImages, Source, digest, read_part
from .splits import grouped_split, stratified_split

log = logging.getLogger(__name__)

VAL_SIZE = 0.1  # share of the training images, at least one of each class, unless `val_size` says otherwise


class TrainingImages(NamedTuple):
    """What a network has to know about the images that it was trained on, to be used on others."""

    image_shape: tuple[int, int, int]
    """(channels, height, width)."""
    class_names: tuple[str, ...]
    border_brightness: tuple[float, float]
    """Mean over the images, and standard deviation, of the brightness along their edges, in [0, 1]."""
    reading: Mapping[str, Any] = NOTHING
    """See `Source.reading`."""


class Dataset:
    """A source's images, split. Nothing is read before it is asked for.

    Args:
        source: where the images are from.
        name: of the option that made the source, for the record and for errors.
        val_size: training images held out for validation: a share below 1, or a number. Not used if the source has
            validation images of its own.
        limit: use only this many training images, in proportion to the classes; None: all.
        seed: fixes the validation split, and the choice of `limit` images.
        trained_on: the images of a network that is trained already; where a dataset can be read in several ways, it is
            read so that it suits this network.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        val_size: float = VAL_SIZE,
        limit: int | None = None,
        seed: int = 0,
        trained_on: TrainingImages | None = None,
    ):
        self.source, self.name, self.seed = source, name, seed
        self.val_size, self.limit = val_size, limit
        if trained_on is not None:
            self.source.read_as(trained_on.image_shape, trained_on.class_names, trained_on.reading)
        self.train_split: LabelledImages | None = None
        self.val_split: LabelledImages | None = None
        self.test_split: LabelledImages | None = None
        self._prepared = False
        self._digests: dict[str, str] = {}
        self._brightness: tuple[float, float] | None = None

    def read_training_images(self) -> None:
        """Fill `train_split` and `val_split`. Raises DataError, and ConfigError if a split cannot be made."""
        if self.train_split is not None:
            return
        images = self._read("train")
        own, groups = self.source.gives_away, self.source.groups
        if self.limit is not None and self.limit < len(images.labels):
            least = 2 if self.val_size and self.source.val() is None else 1
            chosen = self._hold_out(f"data.limit={self.limit}", images.labels, self.limit, least=least)[1]
            images = images.of(chosen, own)
            groups = None if groups is None else groups[chosen]
        if self.val_size and self.source.val() is not None:
            if self.val_size != VAL_SIZE:
                log.info("data.val_size: not used, the dataset has validation images of its own")
            self.val_split = self._read("val")
        elif self.val_size:
            held_out = int(self.val_size) if self.val_size >= 1 else round(self.val_size * len(images.labels))
            if self.val_size == VAL_SIZE:
                held_out = max(held_out, len(self.class_names))
            train, val = self._hold_out(f"data.val_size={self.val_size:g}", images.labels, held_out, groups)
            self.val_split = images.of(val)
            images = images.of(train, own)
        elif self.source.val() is not None:
            log.info("data.val_size=0: the dataset's own validation images are not used")
        self.train_split = images
        if self.source.reads_test_images_first:
            self._read("test")  # for its digest in the record

    def read_test_images(self) -> LabelledImages:
        """Fill `test_split`. Raises DataError."""
        if self.test_split is None:
            test = self._read("test")
            if self.train_split is not None and test.images.shape[1:] != self.train_split.images.shape[1:]:
                shapes = f"test images are {list(test.images.shape[1:])}, training images {list(self.image_shape)}"
                raise DataError(f"data={self.name}: {shapes}")
            self.test_split = test
        return self.test_split

    def _read(self, part: str) -> LabelledImages:
        if not self._prepared:
            self.source.prepare()
            self._prepared = True
        read = read_part(self.source, part, self.name)
        if not self.source.sha256:
            self._digests[part] = digest(read)
        return read

    def _hold_out(
        self, setting: str, labels: Tensor, count: int, groups: Tensor | None = None, least: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Indices of the images that stay and of `count` that are held out, by class.

        Args:
            setting: KEY=VALUE, for errors.
            labels: of the images.
            count: how many are held out; with groups, about as many.
            groups: images with the same number stay together; None: each is one by itself.
            least: held out of each class that has more.

        Raises:
            ConfigError: a class would be left without images.
        """
        classes = len(self.class_names)
        key = setting.partition("=")[0]
        if not classes <= count <= len(labels) - classes:
            raise ConfigError(
                f"{setting}: cannot split off {count:,} of {len(labels):,} images so that both parts have images of all"
                f" {classes} classes; {self._advice(key, count, len(labels))}"
            )
        sizes = torch.bincount(labels, minlength=classes)
        if few := [name for name, size in zip(self.class_names, sizes.tolist(), strict=True) if size == 1]:
            raise ConfigError(
                f"{setting}: class {few[0]} has 1 image, which cannot be in both parts; add some, or set {_off(key)}"
            )
        if groups is None or len(groups.unique()) == len(groups):
            return stratified_split(labels, count, self.seed, least)
        order = np.random.RandomState(self.seed).permutation(len(labels))
        out = torch.from_numpy(grouped_split(labels.numpy(), groups.numpy(), count, order))
        is_out = torch.zeros(len(labels), dtype=torch.bool).index_fill(0, out, True)
        held_out = torch.bincount(labels[out], minlength=classes)
        if missing := [name for name, size in zip(self.class_names, held_out.tolist(), strict=True) if not size]:
            log.warning(
                "data=%s: %s cannot be split without tearing images apart that belong together, so none is held out",
                *(self.name, first_names(missing)),
            )
        return torch.where(~is_out)[0], torch.where(is_out)[0]

    def _advice(self, key: str, count: int, available: int) -> str:
        """What to set instead of a number of images that cannot be held out."""
        least, most = len(self.class_names), available - len(self.class_names)
        nothing = _off(key)
        if least > most:
            return f"set {nothing}"
        bound = f"{least} or more" if count < least else f"{most} or less"
        return f"set {key}={bound}, or {nothing.partition('=')[2]}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), known once images have been read."""
        split = self.train_split or self.test_split
        assert split is not None, "no images have been read yet"
        channels, height, width = split.images.shape[1:]
        return channels, height, width

    @property
    def class_counts(self) -> Tensor:
        """Training images of each class, [classes], known once they have been read."""
        assert self.train_split is not None, "no training images have been read yet"
        return torch.bincount(self.train_split.labels, minlength=len(self.class_names))

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.source.class_names)

    @property
    def class_characters(self) -> tuple[str, ...] | None:
        """The classes in their own script, where that is not their name."""
        return self.source.class_characters

    @property
    def official(self) -> bool | None:
        """False if the files are not those of the official release; None if nobody can tell."""
        return self.source.official

    @property
    def title(self) -> str:
        """The dataset's name for people; it says so if the files are not the official ones."""
        name = self.source.title or self.name
        return name if self.official is not False else f"{name} (not the official files)"

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split that has been read."""
        splits = {"train": self.train_split, "val": self.val_split, "test": self.test_split}
        return {name: len(split.labels) for name, split in splits.items() if split is not None}

    def normalization(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training images' channels in [0, 1], [channels] each."""
        assert self.train_split is not None
        images = self.train_split.images.numpy()
        channels = images.shape[1]
        sums, squares = np.zeros(channels), np.zeros(channels)
        for some in np.array_split(images, -(-len(images) // 1024)):
            values = some.astype(np.float64) / 255
            sums += values.sum((0, 2, 3))
            squares += np.square(values).sum((0, 2, 3))
        count = images.size / channels
        mean = sums / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
        return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()

    def record(self) -> dict[str, Any]:
        """What `results.json` says about the dataset: name, digests of what was read, counts, and what a network that
        is trained on it has to know."""
        files = self.source.sha256 or self._digests
        return {
            "name": self.name,
            "official": self.official,
            "sha256": combined_digest(files),
            "files": files,
            **self.counts,
            **self.source.details,
            **(self._training_images() if self.train_split else {}),
        }

    def _training_images(self) -> dict[str, Any]:
        """The fields of `TrainingImages`."""
        assert self.train_split is not None
        if self._brightness is None:
            self._brightness = border_brightness(self.train_split.images)
        about = TrainingImages(self.image_shape, self.class_names, self._brightness)._asdict()
        reading = dict(self.source.reading)
        return about | {"reading": reading} if reading else {key: about[key] for key in about if key != "reading"}


def _off(key: str) -> str:
    """The setting with which nothing is held out."""
    return f"{key}=0" if key == "data.val_size" else f"{key}=null"


def border_brightness(images: Tensor) -> tuple[float, float]:
    """Mean over images, and standard deviation, of the brightness along their edges, in [0, 1].

    Args:
        images: [n, channels, height, width] uint8.
    """
    means = border(images.numpy()).mean(axis=(1, 2)) / 255
    return round(float(means.mean()), 4), round(float(means.std()), 4)


def changed_files(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the files that two records of `Dataset.record` both have, with other content."""
    files = now["files"]
    return [name for name, digest in before.get("files", {}).items() if files.get(name, digest) != digest]


def recorded_training_images(record: dict[str, Any]) -> TrainingImages | None:
    """What a record of `Dataset.record`, read from a file, says about the training images; None if it does not."""
    values = [record.get(key) for key in ("image_shape", "class_names", "border_brightness")]
    return None if None in values else TrainingImages(*map(tuple, values), record.get("reading", {}))


def trained_elsewhere(image_shape: tuple[int, int, int], class_names: Sequence[str]) -> dict[str, Any]:
    """In place of `Dataset.record`, for a network that was trained on images of which only this is known."""
    anything = (0.5, 1.0)  # such that no picture looks inverted against it
    return {"image_shape": tuple(image_shape), "class_names": tuple(class_names), "border_brightness": anything}
