"""The form of a dataset: images with their labels, in a training part and a test part."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError
from ..text import on_one_line
from .splits import take_rows

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images and their classes. `images, labels = part` takes these two."""

    images: Tensor
    """[n, channels, height, width] uint8."""
    labels: Tensor
    """[n] int64."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What else is known of each image, such as its writer or a pose, by name: [n, ...] each."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images, self.labels))

    def of(self, rows: Tensor, in_place: bool = False) -> "LabelledImages":
        """Those of some rows; `in_place` as of `take_rows`."""
        extras = {name: values[rows] for name, values in self.extras.items()}
        return LabelledImages(take_rows(self.images, rows, in_place), self.labels[rows], extras)


class Source(ABC):
    """What `build()` of an option of `data` returns. Derive from it, and replace the defaults that do not hold.

    The runner holds validation images out of the training images, and reads the test images once, at the end.
    """

    class_names: tuple[str, ...] = ()
    """Of the classes 0, 1, ...; known after `prepare` at the latest."""
    class_characters: tuple[str, ...] | None = None
    """The classes in their own script, where that is not their name."""
    title: str | None = None
    """The dataset's name for people; None: that of the option."""
    official: bool | None = None
    """False if the files are not those of the official release; None if nobody can tell."""
    sha256: Mapping[str, str] = NOTHING
    """Digest of each file that was read, by name. If it is empty, digests of the images and labels are recorded."""
    note: str | None = None
    """What to know of its test images, in a sentence that is said after the test."""
    details: Mapping[str, Any] = NOTHING
    """What else the run's record should say."""
    reading: Mapping[str, Any] = NOTHING
    """What has to be known to read other images as these were read, for a trained network. Plain values."""
    groups: Tensor | None = None
    """Which images of `train` belong together, [n] int64: those with the same number are not torn apart by a split."""
    reads_test_images_first: bool = False
    """`prepare` has read the test images, so that their digest is known from the start."""
    gives_away: bool = False
    """The images of `train` belong to the caller, who may change them. It is called once."""

    @abstractmethod
    def train(self) -> LabelledImages:
        """Training images with their labels; a pair of arrays will do, or these and a dictionary of extras."""

    @abstractmethod
    def test(self) -> LabelledImages:
        """The same for testing."""

    def val(self) -> LabelledImages | None:
        """The dataset's own validation images; None: they are held out of the training images."""
        return None

    def prepare(self) -> None:  # noqa: B027 (most have nothing to prepare)
        """Download what is missing and check what is there. Called before anything is read. Raises DataError."""

    def read_as(  # noqa: B027
        self, image_shape: tuple[int, int, int], class_names: tuple[str, ...], reading: Mapping[str, Any] = NOTHING
    ) -> None:
        """Called before `prepare` if a network is trained already. A source that can be read in several ways then gives
        images of this shape, and labels that count in these classes; `reading` is what was recorded in training."""


class _Plain(Source):
    """A source of a class that does not derive from `Source`: what it has, and the defaults of the rest."""

    def __init__(self, given: Any):
        self._given = given

    def __getattribute__(self, name: str) -> Any:
        given = super().__getattribute__("_given")
        return getattr(given, name) if hasattr(given, name) else super().__getattribute__(name)

    def train(self) -> LabelledImages:
        return self._given.train()

    def test(self) -> LabelledImages:
        return self._given.test()


def as_source(built: Any, name: str) -> Source:
    """What `build()` of a dataset's option has returned, as a `Source`.

    Args:
        built: a source, or any object with `train`, `test` and `class_names`.
        name: of the dataset, for errors.

    Raises:
        DataError: it is neither.
    """
    if isinstance(built, Source):
        return built
    for needed in ("train", "test", "class_names"):
        if not hasattr(built, needed):
            raise DataError(
                f"data={name}: build() must return a capsnet.Source; this {type(built).__name__} has no {needed}"
            )
    return _Plain(built)


def read_part(source: Source, part: str, name: str) -> LabelledImages:
    """Read a source's images and check their form.

    Args:
        source: of any dataset; it returns an object with `images`, `labels` and perhaps `extras`, or a tuple of them.
        part: "train", "val" or "test".
        name: of the dataset, for errors.

    Raises:
        DataError: the images or labels do not have the form that `LabelledImages` describes.
    """
    given: Any = getattr(source, part)()
    try:
        has_names = hasattr(given, "images")
        images, labels, *more = (given.images, given.labels) if has_names else given
        extras = getattr(given, "extras", NOTHING) if has_names else dict(*more)
        images, labels = torch.as_tensor(images), torch.as_tensor(labels)
        extras = {name: torch.as_tensor(values) for name, values in extras.items()}
        labels = labels.long() if labels.dtype in (torch.uint16, torch.uint32, torch.uint64) else labels
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(f"data={name}: {part}() must give images and labels ({on_one_line(error)})") from error
    where = f"data={name}: {part}()"
    if images.ndim != 4 or images.dtype != torch.uint8:
        raise DataError(
            f"{where} must give images [n, channels, height, width] uint8, not {list(images.shape)} {images.dtype}"
        )
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or len(labels) != len(images):
        raise DataError(
            f"{where} must give labels [{len(images)}] of whole numbers, not {list(labels.shape)} {labels.dtype}"
        )
    classes = len(source.class_names)
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        found = f"{int(labels.min())} to {int(labels.max())}" if len(labels) else "none"
        raise DataError(f"{where} must give labels from 0 to {classes - 1}, one for each class name, not {found}")
    for extra, values in extras.items():
        if values.ndim == 0 or len(values) != len(images):
            raise DataError(f"{where} must give {extra} of each of {len(images)} images, not {list(values.shape)}")
    return LabelledImages(images.contiguous(), labels.long(), extras)


def digest(part: LabelledImages) -> str:
    """sha256 of the bytes of images, labels and extras."""
    found = hashlib.sha256(part.images.numpy())
    for values in (part.labels, *part.extras.values()):
        found.update(values.contiguous().numpy())
    return found.hexdigest()
