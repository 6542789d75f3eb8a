"""The run that the explorer shows: its network, its classes in their own script, and its test images."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data.batches import Batches
from ..data.source import LabelledImages
from ..runs.opened import open_run
from ..runs.trained import TrainedModel
from .drawings import usual_extent

SHOWN = 24  # test images on the page at once
MEASURED = 500  # images that say how far a drawing usually reaches


@dataclass
class Exhibit:
    """What there is to explore."""

    model: TrainedModel
    title: str
    """Of the network and its dataset, for people."""
    class_characters: tuple[str, ...] | None
    """The classes in their own script, where that is not their name."""
    test_images: LabelledImages | None
    why_none: str
    """Why there are no test images."""
    extent: float | None
    """How far from edge to edge a drawing reaches in these images; None if there are none."""


def open_exhibit(run: Path, plugin: str | None = None, root: str | None = None) -> Exhibit:
    """What there is to explore of a run. Arguments and errors are those of `open_run`."""
    opened = open_run(run, plugin, root)
    opened.model.refuse_pictures()
    images, batches = opened.test_images, opened.test_batches()
    return Exhibit(
        opened.model,
        opened.title + (opened.tested and f": {opened.tested}"),
        opened.dataset.class_characters,
        images,
        opened.why_no_test_images,
        None if batches is None else usual_extent(_some(batches, MEASURED)),
    )


def _some(batches: Batches, count: int) -> Tensor:
    """Images as the network sees them, [count or all, channels, height, width] uint8."""
    items = sum(batches.sizes)
    images, _ = batches.take(torch.linspace(0, items - 1, min(count, items)).long().tolist())
    return (images * 255).round().to(torch.uint8)


def chosen_samples(images: LabelledImages, label: int | None, page: int) -> list[int]:
    """Numbers of test images to show: `SHOWN` of them at random, the same ones for the same page.

    Args:
        images: the test images.
        label: only of this class; None: of all.
        page: other pages have other images, until all have been shown.
    """
    numbers = torch.arange(len(images.labels)) if label is None else torch.nonzero(images.labels == label)[:, 0]
    if not len(numbers):
        return []
    shuffled = numbers[torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))]
    start = page * SHOWN % len(shuffled)
    return torch.cat([shuffled[start:], shuffled[:start]])[:SHOWN].tolist()
