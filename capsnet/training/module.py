"""A network as Lightning trains it: losses, metrics and optimizer."""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ..data.balance import balanced_weights
from ..data.batches import Batches, to_float
from ..data.dataset import Dataset, recorded_training_images, trained_elsewhere
from ..errors import CheckpointError, ConfigError
from ..losses import END, Progress
from ..metrics.metric import Measurements
from ..networks.normalization import is_normalized, set_normalization
from ..output import Output, Targets
from ..runs.checkpoints import CONFIG_KEY, DATASET_KEY, PLUGIN_KEY, build_network, check_weights, load_checkpoint
from ..runs.initial_weights import begin_with, freeze
from ..runs.record import plugin_record
from ..settings.composing import compose
from ..settings.config import Config, as_dict, build_loss, build_metrics, hyperparameters, name_of
from .datamodule import KMNISTDataModule


class CapsNetModule(pl.LightningModule):
    """A network with its task, its loss and its optimizer, for the runner's Trainer or yours.

    Measures what the loss names, and the metrics, under `train/`, `val/` and `test/` once an epoch, exact over all
    images and processes. Batches are those of `KMNISTDataModule`, or pairs (images, labels) of any loader: images
    [batch, *image_shape], uint8 or in [0, 1], and labels [batch], or [batch, k] for a task with k classes an image.

    Args:
        overrides: settings as on the command line, such as "model=efficient_capsnet", "routing.iters=3".
        config: the whole config in their place, as `capsnet.compose` gives it.
        image_shape: (channels, height, width) of the dataset's images; the task says what the network sees of them.
        num_classes: number of classes.
        class_names: their names; None: their numbers.
        class_counts: training images of each class, [classes]; None: known from a `KMNISTDataModule`.
        logs: write what is measured to the Trainer's loggers, as Lightning does; False: the caller does.
        begins: begin with the weights of `init=RUN_OR_MODEL`, if that is set; False: others are going to be loaded.

    Raises:
        ConfigError: a setting is wrong, or the loss cannot weight the classes, as `data.class_weights` asks.
        ValueError: the network does not suit images of this shape.
    """

    def __init__(
        self,
        *overrides: str,
        config: Config | None = None,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        class_names: Sequence[str] | None = None,
        class_counts: Tensor | None = None,
        logs: bool = True,
        begins: bool = True,
    ):
        super().__init__()
        self._frozen: list[nn.Module] = []
        self.config = config or compose(*overrides)
        self.image_shape, self.num_classes, self.logs = tuple(image_shape), num_classes, logs
        self.class_names = tuple(class_names or map(str, range(num_classes)))
        self.task = self.config.task.build()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.config.seed)
            self.network = build_network(self.config, self.image_shape, num_classes)
        self.initial = self.begin() if begins else None
        if self.config.freeze:
            self._frozen = freeze(self.network, self.config, self.image_shape, num_classes)
        self.loss = build_loss(self.config.loss)
        self._compiled = _compiled(self._output) if self.config.trainer.compile else None
        self._full_batch: int | None = None
        self._weights: Tensor | None = None
        self._class_counts: list[int] | None = None
        if class_counts is not None:
            self._count_classes(class_counts)
        self.measurements = {split: self._new_measurements() for split in ("train", "val", "test")}
        self.epoch_metrics: dict[str, float] = {}
        self._steps = 1  # of the whole training, known once it begins
        if logs:
            self.save_hyperparameters(hyperparameters(self.config))

    def begin(self) -> dict[str, str] | None:
        """Take the weights of `init=RUN_OR_MODEL`; gives its checkpoint's path and sha256, None if it is not set."""
        if self.config.init is None:
            return None
        return begin_with(self.network, self.config, self.image_shape, self.class_names)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, map_location: Any = None) -> Self:
        """A module with the weights and the settings of a checkpoint, of the runner or of another Trainer.

        Nothing in the file is executed.

        Args:
            checkpoint_path: the file.
            map_location: the device; None: the CPU.

        Raises:
            CheckpointError: it cannot be read, or is not a checkpoint of this project.
        """
        path = Path(checkpoint_path)
        checkpoint = load_checkpoint(path)
        images = recorded_training_images(checkpoint.dataset)
        if images is None:
            raise CheckpointError(f"{path}: does not say what images it was trained on")
        shape, names = images.image_shape, images.class_names
        known = {"image_shape": shape, "num_classes": len(names), "class_names": names}
        module = cls(config=checkpoint.config, **known, begins=False)
        check_weights(checkpoint.weights, module.network, path)
        module.network.load_state_dict(checkpoint.weights)
        return module.to(map_location or "cpu")

    @property
    def lr(self) -> float:
        """The learning rate at its highest, by the name under which Lightning's tuner looks for it."""
        return self.config.optimizer.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.config.optimizer.lr = value

    def setup(self, stage: str) -> None:
        """Take from a `KMNISTDataModule` what the loss, the metrics and a new network have to know of the images.

        Raises:
            ConfigError: its images are not those that the network was built for.
        """
        if not isinstance(data := self._data_module(), KMNISTDataModule) or data.dataset.train_split is None:
            if stage == "fit" and self.config.data.class_weights is not None and self._weights is None:
                weights = self.config.data.class_weights
                raise ConfigError(f"data.class_weights={weights}: give CapsNetModule class_counts= with your own data")
            return
        dataset = data.dataset
        shape, classes = dataset.image_shape, len(dataset.class_names)
        if (shape, classes) != (self.image_shape, self.num_classes):
            raise ConfigError(
                f"data={dataset.name}: images {list(shape)} of {classes} classes, but the network is built for"
                f" {list(self.image_shape)} and {self.num_classes}; give CapsNetModule image_shape= and num_classes="
            )
        self.class_names = dataset.class_names
        if self._class_counts is None:
            self._count_classes(dataset.class_counts)
        if stage == "fit":
            self._fit_to_images(dataset)

    def _fit_to_images(self, dataset: Dataset) -> None:
        """Give a new network the numbers of the training images that it needs."""
        anew = self.config.data.normalize and self.config.init is None  # or it sees images as that network did
        normalizes = anew and not is_normalized(self.network, self.image_shape[0])
        decoder = getattr(self.network, "decoder", None)
        begins = getattr(decoder, "is_new", False)
        if not normalizes and not begins:
            return
        center, spread = dataset.normalization()
        if normalizes:
            set_normalization(self.network, center, spread)
        if begins:
            decoder.begin_with(center)

    def _data_module(self) -> pl.LightningDataModule | None:
        return None if self._trainer is None else self._trainer.datamodule

    def _count_classes(self, counts: Tensor) -> None:
        self._class_counts = counts.tolist()
        if self.config.data.class_weights is not None:
            if not self.loss.takes_weights:
                weights, name = self.config.data.class_weights, name_of("loss", self.config.loss)
                raise ConfigError(f"data.class_weights={weights}: loss={name} does not take weights")
            self._weights = balanced_weights(counts)

    def _new_measurements(self) -> Measurements:
        confidences = partial(self.task.confidences, logits=self.loss.logits)
        return Measurements(self.task.metrics(build_metrics(self.config), self._class_counts), confidences)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        return self.network(images, labels)

    def training_step(self, batch: tuple[Tensor, Any], batch_index: int) -> Tensor:
        images, targets = _images_and_targets(batch)
        output_of = self._output
        if self._compiled is not None:
            self._full_batch = self._full_batch or len(images)
            if len(images) == self._full_batch:  # a smaller last batch is not worth compiling for
                output_of = self._compiled
        if self._weights is not None:
            self._weights = self._weights.to(images.device)
            presence = targets.presence(self.num_classes).to(self._weights.dtype)
            targets = targets._replace(weights=presence @ self._weights / presence.sum(1))
        loss = self._measure("train", output_of(images, targets), targets)
        if self._trainer is None or self.trainer.world_size == 1:
            return loss
        if not isinstance(batches := self.trainer.train_dataloader, Batches):
            return loss
        # The processes' gradients are averaged. This weights each by its share of the batch's images.
        return loss * (len(images) * self.trainer.world_size / batches.sizes[batch_index])

    def _output(self, images: Tensor, targets: Targets, choose: bool = False) -> Output:
        output = self.task.output(self.network, images, targets, choose=choose)
        if not isinstance(output, Output):
            name = name_of("model", self.config.model)
            raise ConfigError(f"model={name}: forward must return a capsnet.Output, got {type(output).__name__}")
        self._refuse_other_shapes(output, len(images))
        return output

    def _refuse_other_shapes(self, output: Output, count: int) -> None:
        """Raise ConfigError unless scores are [batch, classes] and capsules [batch, classes, dim]."""
        for what, tensor, dimensions in (("scores", output.scores, ""), ("capsules", output.capsules, ", dim")):
            if tensor is None or (
                tensor.ndim == 2 + bool(dimensions) and tensor.shape[:2] == (count, self.num_classes)
            ):
                continue
            parts = ", ".join(
                f"{group}={name_of(group, getattr(self.config, group))}" for group in ("model", "routing")
            )
            wanted = f"[{count}, {self.num_classes}{dimensions}]"
            raise ConfigError(f"{parts}: gives {what} {list(tensor.shape)}, expected {wanted}")

    def validation_step(self, batch: tuple[Tensor, Any], batch_index: int) -> Tensor:
        images, targets = _images_and_targets(batch)
        return self._measure("val", self._output(images, targets, choose=True), targets)

    def test_step(self, batch: tuple[Tensor, Any], batch_index: int) -> None:
        images, targets = _images_and_targets(batch)
        self._measure("test", self._output(images, targets, choose=True), targets)

    def predict_step(self, batch: Any, batch_index: int) -> Tensor:
        """The classes that the task answers with, [batch] or [batch, k], of images or of pairs (images, labels)."""
        images = batch if isinstance(batch, Tensor) else batch[0]
        return self.task.answers(self.network(_in_unit_range(images)).scores)

    def _measure(self, split: str, output: Output, targets: Targets) -> Tensor:
        """Add a batch to the epoch's measurements; gives the loss."""
        losses = self.loss(output, targets, self._progress() if split == "train" else END)
        self.measurements[split].update(losses, output, targets)
        if split == "train":
            self.latest_loss = losses["loss"].detach()
        return losses["loss"]

    def _progress(self) -> Progress:
        if self._trainer is None:
            return END
        return Progress(self.global_step, self._steps, self.current_epoch, self.trainer.max_epochs or 1)

    def on_train_start(self) -> None:
        self._steps = self._all_steps()

    def _all_steps(self) -> int:
        steps = self.trainer.estimated_stepping_batches
        if not math.isfinite(steps):  # a Trainer that ends by the clock: as long as the settings say
            steps = self.config.trainer.max_epochs * self.trainer.num_training_batches
        return int(min(steps, self.config.trainer.max_steps or steps))

    def running_means(self) -> dict[str, float]:
        """This epoch's training metrics so far, in this process. Waits for the device."""
        return self.measurements["train"].compute()

    def on_train_epoch_start(self) -> None:
        for part in self._frozen:
            part.eval()
        self.measurements["train"] = self._new_measurements()
        self.epoch_metrics = {"lr": self.optimizers().param_groups[0]["lr"]}

    def on_validation_epoch_start(self) -> None:
        self.measurements["val"] = self._new_measurements()

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_test_epoch_start(self) -> None:
        self.measurements["test"] = self._new_measurements()

    def on_test_epoch_end(self) -> None:
        self._finish("test")

    def on_train_epoch_end(self) -> None:
        self.finished_epoch()

    def finished_epoch(self) -> dict[str, float]:
        """This epoch's metrics by their full names, over all processes. Every process has to call it."""
        if "train/loss" not in self.epoch_metrics:
            self._finish("train")
        return self.epoch_metrics

    def _finish(self, split: str) -> None:
        measured = self.measurements[split].compute(self._add_up if self.trainer.world_size > 1 else None)
        named = {f"{split}/{name}": value for name, value in measured.items()}
        self.epoch_metrics.update(named)
        # For callbacks; and for the loggers, to which the runner itself writes, at the epoch's last step.
        reported = {name: self.epoch_metrics[name] for name in ("lr", *named)} if split == "train" else named
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You called `self.log")  # without a logger
            # What goes to the loggers is also what Trainer.validate and Trainer.test return.
            self.log_dict(reported, logger=self.logs or split == "test", sync_dist=True)

    def _add_up(self, sums: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")

    def configure_optimizers(self) -> dict[str, Any]:
        precision, epochs, steps = self.config.trainer.precision, self.config.trainer.max_epochs, None
        if self._trainer is not None:
            precision = self.trainer.precision
            epochs = self.trainer.max_epochs if (self.trainer.max_epochs or 0) > 0 else epochs
            steps = self._all_steps() if self.config.optimizer.by_step else None
        # The fused step reads and writes the weights once. It cannot unscale 16-bit gradients that are to be clipped.
        fused = precision not in ("16-mixed", "16")
        weights = [weight for weight in self.parameters() if weight.requires_grad]
        optimizer, schedule = self.config.optimizer.build(weights, fused, epochs, steps)
        interval = "step" if self.config.optimizer.by_step else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = self._data_module()
        own = isinstance(data, KMNISTDataModule)
        checkpoint[CONFIG_KEY] = as_dict(self.config)
        checkpoint[DATASET_KEY] = (
            data.dataset.record() if own else trained_elsewhere(self.image_shape, self.class_names)
        )
        if plugin := plugin_record():
            checkpoint[PLUGIN_KEY] = plugin


def _images_and_targets(batch: tuple[Tensor, Any]) -> tuple[Tensor, Targets]:
    """A batch of ours, a pair (images, labels), or these and a dictionary of extras, as network and loss take it."""
    images, wanted, *extras = batch
    if isinstance(wanted, Targets):
        return images, wanted
    if extras and not (len(extras) == 1 and isinstance(extras[0], dict)):
        raise ConfigError("a batch must be (images, labels), or these and one dictionary of tensors, targets.extras")
    images = _in_unit_range(images)
    wanted = wanted if wanted.is_floating_point() else wanted.long()
    return images, Targets(wanted, images, extras=extras[0] if extras else None)


def _in_unit_range(images: Tensor) -> Tensor:
    return to_float(images) if images.dtype == torch.uint8 else images


def _compiled(output_of: Callable[..., Output]) -> Callable[..., Output]:
    """The network's forward and backward pass, compiled. Jobs of one process share compiled code where they can."""
    torch._dynamo.config.recompile_limit = 256  # with the default of 8, a sweep's ninth setting would not be compiled
    return torch.compile(output_of, dynamic=False)
