"""A network as Lightning trains it: losses, metrics and optimizer."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ..data.balance import are_unbalanced, balanced_weights
from ..errors import ConfigError
from ..losses import check_names
from ..output import Output
from ..runs.checkpoints import CONFIG_KEY, DATASET_KEY, PLUGIN_KEY, build_network
from ..settings.config import Config, as_dict, name_of
from ..settings.plugins import loaded_plugin


class EpochAverages:
    """Means of named scalars over the images of an epoch. The sums stay on the device, so no step waits for it.

    Args:
        classes: number of classes, for a mean of the accuracies by class as well; 0: without it.
    """

    def __init__(self, classes: int = 0) -> None:
        self.classes = classes
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None

    def add(self, means: dict[str, Tensor], labels: Tensor, right: Tensor) -> None:
        """Add a batch: its means, and which of its images, with these labels, were recognized."""
        self.names = (*means, *(["balanced_accuracy"] if self.classes else []))
        values = torch.stack([value.detach().float() for value in means.values()])
        sums = torch.cat([values, values.new_ones(1)]) * len(labels)
        if self.classes:
            of_class = labels.unsqueeze(1) == torch.arange(self.classes, device=labels.device)
            sums = torch.cat([sums, of_class.sum(0), (of_class & right.unsqueeze(1)).sum(0)])
        self.sums = sums if self.sums is None else self.sums + sums

    def compute(self, strategy: pl.strategies.Strategy | None = None) -> dict[str, float]:
        """The means so far by name; over all processes if their strategy is given."""
        assert self.sums is not None
        sums = self.sums.clone() if strategy is None else strategy.reduce(self.sums.clone(), reduce_op="sum")
        *totals, images = sums[: len(sums) - 2 * self.classes].tolist()
        means = [total / images for total in totals]
        if self.classes:
            of_class, right = sums[len(sums) - 2 * self.classes :].view(2, -1)
            present = of_class > 0
            means.append(float((right[present] / of_class[present]).mean()))
        return dict(zip(self.names, means, strict=True))


class ClassifierModule(pl.LightningModule):
    """A network with its loss and its optimizer.

    Measures what the loss names, and accuracy, under `train/` and `val/` once an epoch, exact over all images and
    processes; where classes are unbalanced, the mean of their accuracies as well. In training, a capsule network
    decodes the true class's capsule; in validation, the longest one. Under mixup, training accuracy takes the class
    with the larger share as the true one.

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
        self.config = config
        self.network = build_network(config, image_shape, num_classes)
        self.loss = config.loss.build()
        self._compiled = _compiled(self.network) if config.trainer.compile else None
        self._full_batch: int | None = None
        self._counted_classes = num_classes if class_counts is not None and are_unbalanced(class_counts.tolist()) else 0
        self._weights: Tensor | None = None
        if config.data.class_weights is not None and class_counts is not None:
            if "weights" not in inspect.signature(self.loss).parameters:
                name = name_of("loss", config.loss)
                raise ConfigError(f"data.class_weights={config.data.class_weights}: loss={name} does not take weights")
            self._weights = balanced_weights(class_counts)
        self.averages = {split: EpochAverages(self._counted_classes) for split in ("train", "val")}
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
        mixed = labels.is_floating_point()
        if split == "train" and self._weights is not None:
            self._weights = self._weights.to(labels.device)
            weights = (labels * self._weights).sum(1) if mixed else self._weights[labels]
            losses = self.loss(output, images, labels, weights=weights)
        else:
            losses = self.loss(output, images, labels)
        check_names(losses)
        true = labels.argmax(1) if mixed else labels
        right = output.scores.argmax(1) == true
        self.averages[split].add({**losses, "accuracy": right.float().mean()}, true, right)
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
        self.averages["train"] = EpochAverages(self._counted_classes)
        self.epoch_metrics = {"lr": self.optimizers().param_groups[0]["lr"]}

    def on_validation_epoch_start(self) -> None:
        self.averages["val"] = EpochAverages(self._counted_classes)

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
        optimizer, schedule = self.config.optimizer.build(self.parameters(), fused, self.config.trainer.max_epochs)
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
