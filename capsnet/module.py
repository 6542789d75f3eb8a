"""The CapsNet as Lightning trains it: losses, metrics and optimiser."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from .checkpoint import CONFIG_KEY, build_network
from .config import Config
from .losses import capsnet_losses
from .model import CapsNet, CapsNetOutput
from .results import METRICS


class Means:
    """Means over the images of an epoch, summed on the device, so that a step waits for nothing."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    def add(self, values: Tensor, images: int) -> None:
        """Add a batch's means of METRICS, [len(METRICS)]."""
        weighted = torch.cat([values.detach().float(), values.new_ones(1, dtype=torch.float32)]) * images
        self.sums = weighted if self.sums is None else self.sums + weighted

    def compute(self, strategy: pl.strategies.Strategy | None = None) -> dict[str, float]:
        """The means so far by name; over all processes where their strategy is given."""
        assert self.sums is not None
        sums = self.sums.clone() if strategy is None else strategy.reduce(self.sums.clone(), reduce_op="sum")
        *totals, images = sums.tolist()
        return dict(zip(METRICS, (total / images for total in totals), strict=True))


class CapsNetModule(pl.LightningModule):
    """A CapsNet with its losses and its optimiser.

    Logs `train/` and `val/` loss, margin_loss, reconstruction_loss and accuracy once an epoch, exact over all images
    and processes. In training the right class's capsule is decoded, in validation the longest one.

    Args:
        config: the whole config; it travels in every checkpoint.
        image_shape: (channels, height, width).
        num_classes: number of classes.
    """

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        self.config = config
        self.network = build_network(config, image_shape, num_classes)
        self._compiled = _compiled(self.network) if config.trainer.compile else None
        self._full_batch: int | None = None
        self.means = {"train": Means(), "val": Means()}
        self.epoch_metrics: dict[str, float] = {}

    def forward(self, images: Tensor, labels: Tensor | None = None):
        return self.network(images, labels)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        network = self.network
        if self._compiled is not None:
            self._full_batch = self._full_batch or len(labels)
            if len(labels) == self._full_batch:  # a smaller last one would be compiled anew, for nothing
                network = self._compiled
        loss = self._losses("train", network(images, labels), images, labels)
        if self._trainer is None or self.trainer.world_size == 1:
            return loss
        # The processes' gradients are averaged as they come; this weighs each by its share of the batch's images.
        return loss * (len(labels) * self.trainer.world_size / self.trainer.train_dataloader.sizes[batch_index])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        images, labels = batch
        return self._losses("val", self.network(images), images, labels)

    def _losses(self, split: str, output: CapsNetOutput, images: Tensor, labels: Tensor) -> Tensor:
        losses = capsnet_losses(output.lengths, output.reconstruction, images, labels, self.config.loss)
        accuracy = (output.lengths.argmax(1) == labels).to(losses.loss.dtype).mean()
        self.means[split].add(torch.stack([*losses, accuracy]), len(labels))
        return losses.loss

    def running_means(self) -> dict[str, float]:
        """This epoch's training metrics so far, in this process. Waits for the device."""
        return self.means["train"].compute()

    def on_train_epoch_start(self) -> None:
        # Dropout's randomness depends on nothing but this, so that a resumed run draws what it would have drawn.
        origin = (self.config.seed, self.current_epoch, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(origin).generate_state(1)[0]))
        self.means["train"] = Means()
        self.epoch_metrics = {"lr": self.optimizers().param_groups[0]["lr"]}

    def on_validation_epoch_start(self) -> None:
        self.means["val"] = Means()

    def on_validation_epoch_end(self) -> None:
        self._finish("val")

    def on_train_epoch_end(self) -> None:
        self.log_dict(self.finished_epoch(), logger=False, sync_dist=True)

    def finished_epoch(self) -> dict[str, float]:
        """This epoch's metrics by their full names, over all processes; each process has to ask."""
        if "train/loss" not in self.epoch_metrics:
            self._finish("train")
        return self.epoch_metrics

    def _finish(self, split: str) -> None:
        means = self.means[split].compute(self.trainer.strategy)
        named = {f"{split}/{name}": value for name, value in means.items()}
        self.epoch_metrics.update(named)
        if split == "val":  # for the callbacks that watch validation, before the epoch ends
            self.log_dict(named, logger=False, sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        # The fused step goes over the weights once; it cannot unscale 16-bit floats' gradients where they are clipped.
        fused = self.config.trainer.precision not in ("16-mixed", "16")
        optimizer = torch.optim.Adam(self.parameters(), lr=self.config.optimizer.lr, fused=fused)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, self.config.optimizer.lr_decay)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CONFIG_KEY] = asdict(self.config)


def _compiled(network: CapsNet) -> Callable[..., CapsNetOutput]:
    """Its forward and backward pass by torch.compile; jobs of one process share what their settings let them share."""
    torch._dynamo.config.recompile_limit = 256  # at 8, a sweep's ninth setting would silently not be compiled
    return torch.compile(network.forward, dynamic=False)
