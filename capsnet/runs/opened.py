"""A finished run, opened for use: its trained network, and its test images."""

from dataclasses import dataclass
from pathlib import Path

from ..data.batches import Batches
from ..data.dataset import Dataset, recorded_training_images
from ..data.source import LabelledImages
from ..errors import CapsNetError
from ..settings.config import Config, name_of
from ..settings.plugins import load_plugin
from ..text import shown
from .checkpoints import load_checkpoint
from .measures import in_test, in_words
from .result import read_result
from .trained import BATCH, TrainedModel, checkpoint_path, restored


@dataclass
class OpenedRun:
    """A trained network, and what it may be shown."""

    model: TrainedModel
    config: Config
    dataset: Dataset
    test_images: LabelledImages | None
    why_no_test_images: str
    """Empty if there are some."""
    tested: str
    """How good it was in its test, such as "test accuracy 97.10%"; empty if no record says."""

    @property
    def title(self) -> str:
        """Of the network and its dataset, for people."""
        return f"{name_of('model', self.config.model)} on {self.dataset.title}"

    def test_batches(self) -> Batches | None:
        """What the task makes of the test images, as the network sees it; None if there are none."""
        if self.test_images is None:
            return None
        return Batches(self.test_images, BATCH, classes=len(self.model.class_names), composition=self.model.task)


def open_run(run: Path, plugin: str | None = None, root: str | None = None) -> OpenedRun:
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
    dataset = config.data.build(config.seed, recorded_training_images(checkpoint.dataset))
    downloads = getattr(config.data.source, "download", False)
    return OpenedRun(model, config, dataset, *_test_images(dataset, model.single_shape, downloads), tested_of(run))


def tested_of(run: Path) -> str:
    """What `OpenedRun.tested` says of a run's folder or a checkpoint."""
    if not run.is_dir():
        return ""
    result = read_result(run)
    name = in_test(result.monitor)
    return f"{in_words(name)} {shown(name, result.metrics[name])}" if name in result.metrics else ""


def _test_images(dataset: Dataset, shape: tuple[int, int, int], downloads: bool) -> tuple[LabelledImages | None, str]:
    """The test images, or None and why there are none of this shape."""
    if downloads:
        return None, "the run would download its images, which only training and evaluation do"
    try:
        test = dataset.read_test_images()
    except CapsNetError as error:
        return None, str(error)
    if not len(test.labels) or test.images.shape[1:] != shape:
        return None, f"the network was trained on images {list(shape)}, the dataset has {list(test.images.shape)}"
    return test, ""
