"""A trained network, ready to classify images that it has not seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..data.batches import to_float
from ..data.dataset import TrainingImages, recorded_training_images
from ..data.pictures import BrokenPictureError, Range, border, read_pixels, to_pixels, upright
from ..errors import CheckpointError, DataError
from ..output import Output
from ..settings.config import build_loss
from ..settings.plugins import load_plugin
from ..tasks.classify import Classify
from ..tasks.task import Task
from .checkpoints import Checkpoint, load_checkpoint, restored_network
from .folder import checkpoint_path
from .saved_config import warn_of_changed_plugin
from .shipped import find_run

BATCH = 250  # images in a forward pass
INVERTED_BORDER, SIMILAR_BORDER, EVEN_BORDERS = 0.5, 0.25, 0.2  # differences of brightness, in [0, 1]


class Predictions(NamedTuple):
    """What a network says about images."""

    labels: Tensor
    """Class of each image, [n] int64; or, of a task that looks for k things in each, the classes of these, [n, k]."""
    names: list[Any]
    """Their names: a text for each image, or a list of k."""
    scores: Tensor
    """[n, classes], each in [0, 1]: lengths of the class capsules, or probabilities."""


class TrainedModel:
    """A trained network with what is needed to use it.

    Args:
        network: with its trained weights.
        training_images: what it was trained on: single images, of which the task makes what the network sees.
        logits: its scores are logits, of which softmax makes probabilities.
        task: what it has learned.
    """

    def __init__(self, network: nn.Module, training_images: TrainingImages, logits: bool, task: Task | None = None):
        self.network = network.float().eval()
        self.single_shape, self.class_names, self.border_brightness, reading = training_images
        self.ranges = {kind: Range(*ends) for kind, ends in reading.get("ranges", {}).items()}
        self._logits, self.task = logits, task or Classify()
        self.image_shape = self.task.image_shape(self.single_shape)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def predict(self, images: Any) -> Predictions:
        """Classify images.

        Args:
            images: paths, PIL images or arrays [height, width] or [height, width, 3] of any size, one or a list of
                them, which are prepared as the training images were; or a tensor or array [n, *image_shape], or [n,
                height, width] of gray ones, which is used as it is. Tensors and arrays are uint8 or in [0, 1].

        Raises:
            DataError: a file cannot be read.
            TypeError: it is nothing of all this.
            ValueError: a picture, array or tensor does not have such a form.
        """
        images = self._as_batch(images)
        if not isinstance(images, Tensor):
            pixels = [self.pixels(image) for image in _listed(images)]
            images = torch.from_numpy(np.stack(pixels)) if pixels else torch.empty(0, *self.image_shape)
        if images.shape[1:] != self.image_shape or images.ndim != 4:
            raise ValueError(f"expected images [n, {', '.join(map(str, self.image_shape))}], got {list(images.shape)}")
        if images.dtype != torch.uint8 and not (images.is_floating_point() and _in_range(images)):
            raise ValueError(f"expected a tensor of uint8, or of numbers in [0, 1], got {images.dtype}")
        return self.classify(images)

    def _as_batch(self, images: Any) -> Any:
        """A tensor [n, *image_shape] of what has that shape already, but for the channel of gray images."""
        if not isinstance(images, np.ndarray | Tensor):
            return images
        channels, *size = self.image_shape
        one_channel_missing = channels == 1 and images.ndim == 3 and list(images.shape[1:]) == size
        if isinstance(images, np.ndarray) and not one_channel_missing and images.shape[1:] != self.image_shape:
            return images
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8 and images.dtype.kind != "f":
                raise ValueError(f"expected an array of uint8, or of numbers in [0, 1], got {images.dtype}")
            images = torch.from_numpy(np.array(images, images.dtype.newbyteorder("=")))
        return images.unsqueeze(1) if one_channel_missing else images

    def refuse_pictures(self) -> None:
        """Raise DataError if the network's images cannot be pictures, as those of two cameras cannot."""
        if (channels := self.image_shape[0]) not in (1, 3):
            raise DataError(f"this network's images have {channels} channels, and pictures have 1 or 3; give tensors")

    def pixels(self, image: Any) -> np.ndarray:
        """A path, PIL image or array as the network expects it: [channels, height, width] uint8."""
        channels, height, width = self.image_shape
        self.refuse_pictures()
        try:
            if isinstance(image, str | Path):
                return read_pixels(Path(image), height, width, channels, self.ranges)
            if isinstance(image, Image.Image) and 0 in image.size:
                raise ValueError(f"expected a picture with pixels, got one of {image.width} x {image.height}")
            picture = upright(image if isinstance(image, Image.Image) else _picture_of(np.asarray(image)))
            return to_pixels(picture, height, width, channels, self.ranges)
        except BrokenPictureError as error:
            raise DataError(f"{image if isinstance(image, str | Path) else 'image'}: {error}") from error

    def classify(self, images: Tensor) -> Predictions:
        """Classify images [n, *image_shape], uint8 or in [0, 1], in batches."""
        scores = torch.empty(len(images), len(self.class_names))
        for first in range(0, len(images), BATCH):
            scores[first : first + BATCH] = self.confidences(self.output(images[first : first + BATCH]))
        labels = self.task.answers(scores)
        names = np.array(self.class_names, dtype=object)[labels.numpy()]
        return Predictions(labels, names.tolist(), scores)

    @torch.no_grad()
    def output(self, images: Tensor) -> Output:
        """Everything that the network says about one batch of images [n, *image_shape], uint8 or in [0, 1]."""
        images = images.to(self.device)
        return self.network(to_float(images) if images.dtype == torch.uint8 else images.float())

    def confidences(self, output: Output) -> Tensor:
        """The scores in an output, each in [0, 1]: lengths of the class capsules, or probabilities."""
        return self.task.confidences(output, self._logits)

    def draws(self, output: Output) -> bool:
        """Can the network that gave this output draw any capsule?"""
        can_decode = output.capsules is not None and output.reconstruction is not None
        return can_decode and hasattr(self.network, "decode")

    def looks_inverted(self, pixels: np.ndarray) -> bool:
        """Is an image, prepared by `pixels`, dark on light where the training images were light on dark, or vice versa?

        Its border would be like theirs if it were inverted, and is not. False if their borders differ much themselves.
        """
        mean, deviation = self.border_brightness
        own = float(border(pixels).mean()) / 255
        return deviation < EVEN_BORDERS and abs(own - mean) > INVERTED_BORDER and abs(1 - own - mean) < SIMILAR_BORDER


def load(run_or_checkpoint: str | Path, plugin: str | Path | None = None) -> TrainedModel:
    """A trained network, on the GPU if there is one.

    Args:
        run_or_checkpoint: a run's folder, whose best checkpoint is meant, a checkpoint file, or "kmnist_7k", the model
            that comes with the project.
        plugin: the file with the run's options, if it was trained with a plugin.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be read, or is from an earlier version.
        PluginError: the plugin is missing, or cannot be used.
    """
    if plugin is not None:
        load_plugin(plugin)
    path = checkpoint_path(find_run(run_or_checkpoint))
    return restored(load_checkpoint(path), path)


def restored(checkpoint: Checkpoint, path: Path) -> TrainedModel:
    """The trained network of a checkpoint that was read from a path. Raises CheckpointError."""
    warn_of_changed_plugin(checkpoint.plugin_sha256, path)
    training_images = recorded_training_images(checkpoint.dataset)
    if training_images is None:
        raise CheckpointError(f"{path}: does not say what images it was trained on, so it is from an earlier version")
    network = restored_network(checkpoint, training_images.image_shape, len(training_images.class_names), path)
    config = checkpoint.config
    return TrainedModel(network, training_images, build_loss(config.loss).logits, config.task.build())


def _listed(images: Any) -> Sequence[Any]:
    """One image, or several, as a list."""
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
        return [images]
    try:
        return list(images)
    except TypeError as error:
        raise TypeError(f"expected paths, PIL images, arrays or a tensor, got {type(images).__name__}") from error


def _in_range(numbers: Tensor | np.ndarray) -> bool:
    """Are all in [0, 1]? NaN is not."""
    return bool(((numbers >= 0) & (numbers <= 1)).all())


def _picture_of(array: np.ndarray) -> Image.Image:
    """An array [height, width] or [height, width, channels], uint8 or in [0, 1], as a picture. Raises ValueError."""
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating) or not _in_range(array):
            raise ValueError(f"expected an array of uint8, or of numbers in [0, 1], got {array.dtype}")
        array = (array * 255).round().astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(f"expected an array [height, width] or [height, width, 3], got {list(array.shape)}")
    return Image.fromarray(array)
