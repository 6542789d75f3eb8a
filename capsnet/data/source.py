"""The form of a dataset: images with their labels, in a training part and a test part."""

import hashlib
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import DataError
from ..text import on_one_line


class LabelledImages(NamedTuple):
    """Images and their classes."""

    images: Tensor
    """[n, channels, height, width] uint8."""
    labels: Tensor
    """[n] int64."""


class Source(Protocol):
    """What `build()` of an option of `data` returns. A source may also have:

    prepare(): downloads what is missing and checks what is there, before anything is read; raises DataError.
    sha256: digest of each file that was read, by name; without it, the digests of the images and labels are recorded.
    official: False if the files are readable but are not those of the official release.
    class_characters: the classes in their own script, where that is not their name.
    val(): validation images; None, or no such method: they are held out of the training images.
    read_as(image_shape, class_names): called before prepare() if a network is trained already; what is read then
        has this shape, and labels that count in these classes.
    title: the dataset's name for people, where it is not that of the option.
    reads_test_images_first: True if prepare() has read the test images, so that their digest is known from the start.
    gives_away: True if the images of train() belong to the caller, who may change them; train() is called once.
    details: a dictionary of what else the run's record should say.
    """

    class_names: tuple[str, ...]

    def train(self) -> LabelledImages: ...

    def test(self) -> LabelledImages: ...


def read_part(source: Source, part: str, name: str) -> LabelledImages:
    """Read a source's images and check their form.

    Args:
        source: of any dataset; it returns an object with `images` and `labels`, or a pair of them.
        part: "train", "val" or "test".
        name: of the dataset, for errors.

    Raises:
        DataError: the images or labels do not have the form that the protocol describes.
    """
    given: Any = getattr(source, part)()
    try:
        images, labels = (given.images, given.labels) if hasattr(given, "images") else given
        images, labels = torch.as_tensor(images), torch.as_tensor(labels)
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
    return LabelledImages(images.contiguous(), labels.long())


def digest(part: LabelledImages) -> str:
    """sha256 of the images' and labels' bytes."""
    found = hashlib.sha256(part.images.numpy())
    found.update(part.labels.numpy())
    return found.hexdigest()
