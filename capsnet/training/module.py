"""A network as Lightning trains it: losses, metrics and optimizer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ..losses import check_names
from ..output import Output
from ..runs.checkpoints import CONFIG_KEY, DATASET_KEY, PLUGIN_KEY, build_network
from ..settings.config import Config, as_dict
from ..settings.plugins import loaded_plugin


class EpochAverages:
    """Means of named scalars over the images of an epoch. The sums stay on the device, so no step waits for it."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None

    def add(self, means: dict[str, Tensor], images: int) -> None:
        """Add the means over a batch of so many images."""
        self.names = tuple(means)
        values = torch.stack([value.detach().float() for value in means.values()])
        weighted = torch.cat([values, values.new_ones(1)]) * images
        self.sums = weighted if self.sums is None else self.sums + weighted

    def compute(self, strategy: pl.strategies.Strategy | None = None) -> dict[str, float]:
        """The means so far by name; over all processes if their strategy is given."""
        assert self.sums is not None
        sums = self.sums.clone() if strategy is None else strategy.reduce(self.sums.clone(), reduce_op="sum")
        *totals, images = sums.tolist()
        return dict(zip(self.names, (total / images for total in totals), strict=True))


class ClassifierModule(pl.LightningModule):
    """A network with its loss and its optimizer.

    Measures what the loss names, and accuracy, under `train/` and `val/` once an epoch, exact over all images and
    processes. In training, a capsule network decodes the true class's capsule; in validation, the longest one.

    Args:
        config: the whole config; it is saved in every checkpoint.
        image_shape: (channels, height, width).
        num_classes: number of classes.
    """

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        self.config = config
        self.network = build_network(config, image_shape, num_classes)
        self.loss = config.loss.build()
        self._compiled = _compiled(self.network) if config.trainer.compile else None
        self._full_batch: int | None = None
        self.averages = {"train": EpochAverages(), "val": EpochAverages()}
        self.epoch_metrics: dict[str, float] = {}

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Output:
        return self.network(images, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        network = self.network
        if self._compiled is not None:
            self._full_batch = self._full_batch or len(labels)
            if len(labels) == self._full_batch:  # a smaller last batch is not worth compiling for
                network = self._compiled
        loss = self._measure("train", network(images, labels), images, labels)
        if self._trainer is None or self.trainer.world_size == 1:
            return loss
        # The processes' gradients are averaged. This weights each by its share of the batch's images.
        return loss * (len(labels) * self.trainer.world_size / self.trainer.train_dataloader.sizes[batch_index])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        return self._measure("val", self.network(images), images, labels)

    def _measure(self, split: str, output: Output, images: Tensor, labels: Tensor) -> Tensor:
        """Add a batch to the epoch's averages; gives the loss."""
        losses = self.loss(output, images, labels)
        check_names(losses)
        accuracy = (output.scores.argmax(1) == labels).to(losses["loss"].dtype).mean()
        self.averages[split].add({**losses, "accuracy": accuracy}, len(labels))
        return losses["loss"]

    @property
    def metric_columns(self) -> list[str]:
        """Columns of metrics.csv, known once a batch has been trained on."""
        names = self.averages["train"].names
        return ["epoch", "step", "lr", *(f"{split}/{name}" for split in ("train", "val") for name in names)]

    def running_averages(self) -> dict[str, float]:
        """This epoch's training metrics so far, in this process. Waits for the device."""
        return self.averages["train"].compute()

    def on_train_epoch_start(self) -> None:
        # Dropout's randomness depends only on this, so that a resumed run draws what it would have drawn.
        origin = (self.config.seed, self.current_epoch, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(origin).generate_state(1)[0]))
        self.averages["train"] = EpochAverages()
        self.epoch_metrics = {"lr": self.optimizers().param_groups[0]["lr"]}

    def on_validation_epoch_start(self) -> None:
        self.averages["val"] = EpochAverages()

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.finished_epoch(), logger=False, sync_dist=True)

    def finished_epoch(self) -> dict[str, float]:
        """This epoch's metrics by their full names, over all processes. Every process has to call it."""
        if "train/loss" not in self.epoch_metrics:
            self._finish("train")
        return self.epoch_metrics

    def _finish(self, split: str) -> None:
        means = self.averages[split].compute(self.trainer.strategy)
        named = {f"{split}/{name}": value for name, value in means.items()}
        self.epoch_metrics.update(named)
        if split == "val":  # for callbacks that watch validation before the epoch ends
            self.log_dict(named, logger=False, sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        # The fused step reads and writes the weights once. It cannot unscale 16-bit gradients that are to be clipped.
        fused = self.config.trainer.precision not in ("16-mixed", "16")
        optimizer, schedule = self.config.optimizer.build(self.parameters(), fused)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG_KEY] = as_dict(self.config)
        checkpoint[DATASET_KEY] = self.trainer.datamodule.dataset.record()
        if plugin := loaded_plugin():
            checkpoint[PLUGIN_KEY] = {"path": str(plugin.path), "sha256": plugin.sha256}


def _compiled(network: nn.Module) -> Callable[..., Output]:
    """The network's forward and backward pass, compiled. Jobs of one process share compiled code where they can."""
    torch._dynamo.config.recompile_limit = 256  # with the default of 8, a sweep's ninth setting would not be compiled
    return torch.compile(network.forward, dynamic=False)
