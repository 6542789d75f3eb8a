"""The run that the explorer shows: its network, its classes in their own script, and its test images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.dataset import Dataset, TrainingImages
from ..data.source import LabelledImages
from ..errors import CapsNetError
from ..runs.checkpoints import load_checkpoint
from ..runs.result import read_result
from ..runs.trained import TrainedModel, checkpoint_path, restored
from ..settings.config import name_of
from ..settings.plugins import load_plugin
from ..text import percent
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
    """Load a run, and its test images if they can be read. Nothing is downloaded.

    Args:
        run: a run's folder, whose best checkpoint is meant, or a checkpoint file.
        plugin: the file with the run's options, if it was trained with a plugin.
        root: the folder with the images, if they are not where they were in training.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged, contains code, or is from an earlier version.
        ConfigError: the dataset has no root to be replaced.
        PluginError: the plugin is missing, or cannot be used.
    """
    if plugin is not None:
        load_plugin(plugin)
    path = checkpoint_path(run)
    checkpoint = load_checkpoint(path, {} if root is None else {"data.root": root})
    config, model = checkpoint.config, restored(checkpoint, path)
    dataset = Dataset(config.data, config.seed, TrainingImages(model.image_shape, model.class_names, (0.0, 0.0)))
    test_images, why_none = _test_images(dataset)
    accuracy = read_result(run).test_accuracy if run.is_dir() else None
    right = "" if accuracy is None else f": {percent(accuracy)} of the test images right"
    return Exhibit(
        model,
        f"{name_of('model', config.model)} on {dataset.title}{right}",
        dataset.class_characters,
        test_images,
        why_none,
        None if test_images is None else usual_extent(_some(test_images.images, MEASURED)),
    )


def _test_images(dataset: Dataset) -> tuple[LabelledImages | None, str]:
    """The test images, or None and why there are none."""
    source: Any = dataset.data.source
    if getattr(source, "download", False):
        return None, "the run would download its images, and the explorer does not"
    try:
        return dataset.read_test_images(), ""
    except CapsNetError as error:
        return None, str(error)


def _some(images: Tensor, count: int) -> Tensor:
    return images[torch.linspace(0, len(images) - 1, min(count, len(images))).long()]


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
