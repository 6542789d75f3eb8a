"""A network as Lightning trains it: losses, metrics and optimizer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ..data.balance import balanced_weights
from ..errors import ConfigError
from ..losses import BEGINNING, Progress
from ..metrics.metric import Measurements
from ..output import Output, Targets
from ..runs.checkpoints import CONFIG_KEY, DATASET_KEY, PLUGIN_KEY, build_network
from ..runs.record import plugin_record
from ..settings.config import Config, as_dict, build_loss, build_metrics, name_of


class CapsNetModule(pl.LightningModule):
    """A network with its task, its loss and its optimizer.

    Measures what the loss names, and the metrics, under `train/`, `val/` and `test/` once an epoch, exact over all
    images and processes.

    Args:
        config: the whole config; it is saved in every checkpoint.
        image_shape: (channels, height, width).
        num_classes: number of classes.
        class_counts: training images of each class, [classes]; None: all have as many.

    Raises:
        ConfigError: the loss cannot weight the classes, as `data.class_weights` asks.
    """

    def __init__(
        self,
        config: Config,
        image_shape: tuple[int, int, int],
        num_classes: int,
        class_counts: Tensor | None = None,
    ):
        super().__init__()
        self.config, self.num_classes = config, num_classes
        self.task = config.task.build()
        self.network = build_network(config, image_shape, num_classes)
        self.loss = build_loss(config.loss)
        self._compiled = _compiled(self.network) if config.trainer.compile else None
        self._full_batch: int | None = None
        self._class_counts = None if class_counts is None else class_counts.tolist()
        self._weights: Tensor | None = None
        if config.data.class_weights is not None and class_counts is not None:
            if not self.loss.takes_weights:
                name = name_of("loss", config.loss)
                raise ConfigError(f"data.class_weights={config.data.class_weights}: loss={name} does not take weights")
            self._weights = balanced_weights(class_counts)
        self.measurements = {split: self._new_measurements() for split in ("train", "val", "test")}
        self.epoch_metrics: dict[str, float] = {}
        self._steps = 1  # of the whole training, known once it begins

    def _new_measurements(self) -> Measurements:
        return Measurements(self.task.metrics(build_metrics(self.config), self._class_counts))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        return self.network(images, labels)

    def training_step(self, batch: tuple[Tensor, Targets], batch_index: int) -> Tensor:
        images, targets = batch
        network = self.network
        if self._compiled is not None:
            self._full_batch = self._full_batch or len(images)
            if len(images) == self._full_batch:  # a smaller last batch is not worth compiling for
                network = self._compiled
        if self._weights is not None:
            self._weights = self._weights.to(images.device)
            targets = targets._replace(
                weights=targets.presence(self.num_classes).to(self._weights.dtype) @ self._weights
            )
        loss = self._measure("train", self.task.output(network, images, targets), targets)
        if self._trainer is None or self.trainer.world_size == 1:
            return loss
        # The processes' gradients are averaged. This weights each by its share of the batch's images.
        return loss * (len(images) * self.trainer.world_size / self.trainer.train_dataloader.sizes[batch_index])

    def validation_step(self, batch: tuple[Tensor, Targets], batch_index: int) -> Tensor:
        images, targets = batch
        return self._measure("val", self.task.output(self.network, images), targets)

    def test_step(self, batch: tuple[Tensor, Targets], batch_index: int) -> None:
        images, targets = batch
        self._measure("test", self.task.output(self.network, images), targets)

    def predict_step(self, batch: tuple[Tensor, Targets], batch_index: int) -> Tensor:
        """The classes that the task answers with, [batch] or [batch, k]."""
        return self.task.answers(self.network(batch[0]).scores)

    def _measure(self, split: str, output: Output, targets: Targets) -> Tensor:
        """Add a batch to the epoch's measurements; gives the loss."""
        losses = self.loss(output, targets, self._progress())
        self.measurements[split].update(losses, output, targets)
        if split == "train":
            self.latest_loss = losses["loss"].detach()
        return losses["loss"]

    def _progress(self) -> Progress:
        if self._trainer is None:
            return BEGINNING
        return Progress(self.global_step, self._steps, self.current_epoch, self.trainer.max_epochs or 1)

    def on_train_start(self) -> None:
        self._steps = int(self.trainer.estimated_stepping_batches)

    def running_means(self) -> dict[str, float]:
        """This epoch's training metrics so far, in this process. Waits for the device."""
        return self.measurements["train"].compute()

    def on_train_epoch_start(self) -> None:
        # Dropout's randomness depends only on this, so that a resumed run draws what it would have drawn.
        origin = (self.config.seed, self.current_epoch, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(origin).generate_state(1)[0]))
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
        measured = self.measurements[split].compute(self._add_up)
        named = {f"{split}/{name}": value for name, value in measured.items()}
        self.epoch_metrics.update(named)
        # For other callbacks. The loggers get those of training and validation later, at the epoch's last step.
        reported = self.epoch_metrics if split == "train" else named
        self.log_dict(reported, logger=split == "test", sync_dist=True)

    def _add_up(self, sums: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(sums.clone(), reduce_op="sum")

    def configure_optimizers(self) -> dict[str, Any]:
        # The fused step reads and writes the weights once. It cannot unscale 16-bit gradients that are to be clipped.
        fused = self.config.trainer.precision not in ("16-mixed", "16")
        optimizer, schedule = self.config.optimizer.build(self.parameters(), fused, self.config.trainer.max_epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG_KEY] = as_dict(self.config)
        checkpoint[DATASET_KEY] = self.trainer.datamodule.dataset.record()
        if plugin := plugin_record():
            checkpoint[PLUGIN_KEY] = plugin


def _compiled(network: nn.Module) -> Callable[..., Output]:
    """The network's forward and backward pass, compiled. Jobs of one process share compiled code where they can."""
    torch._dynamo.config.recompile_limit = 256  # with the default of 8, a sweep's ninth setting would not be compiled
    return torch.compile(network.forward, dynamic=False)
