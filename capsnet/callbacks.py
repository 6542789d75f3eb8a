"""What happens around a training: progress bar, the epochs' log, checkpoints, the watch over the loss."""

import logging
import math
import os
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from .errors import DivergedError, StorageError, on_one_line
from .results import BEST_CHECKPOINT, LAST_CHECKPOINT, METRICS_FILE, append_metrics, keep_metrics, whole_file
from .terminal import duration

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # how often a GPU is waited for, to look at what it has found so far


class TrainingBar(pl.callbacks.ProgressBar):
    """A bar over all steps of the run, on a terminal only. Looks at the metrics no more often than it is redrawn."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar = tqdm(disable=True)

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        steps = int(trainer.num_training_batches)
        self._bar = tqdm(
            total=steps * (trainer.max_epochs or 1),
            initial=steps * trainer.current_epoch,
            disable=not (self._enabled and sys.stderr.isatty() and trainer.is_global_zero),
            leave=False,
            dynamic_ncols=True,
            mininterval=0.5,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left{postfix}",
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.set_description_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", refresh=False)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._bar.update():  # has just been redrawn: the moment for the one look at the device
            means = pl_module.running_means()
            self._bar.set_postfix_str(f"loss {means['loss']:.4f}, accuracy {means['accuracy']:.2%}", refresh=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.clear()  # makes room for the epoch's line

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.close()


class EpochLog(Callback):
    """Writes each epoch's metrics to metrics.csv, TensorBoard and the log, and keeps score and time.

    Its state travels in last.ckpt, so that a resumed run counts on.

    Args:
        run_dir: the run's folder.
        curves_dir: where TensorBoard's file goes.
    """

    STATE = ("epochs", "best_epoch", "best_val_accuracy", "images", "training_seconds", "stopped_at")

    def __init__(self, run_dir: Path, curves_dir: Path):
        self.run_dir, self.curves_dir = run_dir, curves_dir
        self.epochs = 0
        self.best_epoch: int | None = None
        self.best_val_accuracy: float | None = None
        self.images, self.training_seconds = 0, 0.0  # of finished epochs
        self.earlier_seconds, self.fit_began = 0.0, time.perf_counter()  # before and after the checkpoint resumed from
        self.validation_seconds = 0.0
        self.stopped_at: int | None = None  # the trainer.max_epochs before which early stopping has ended the training

    @cached_property
    def tensorboard(self) -> SummaryWriter:
        """Opened by the main process alone, when it first has something to write."""
        return SummaryWriter(str(self.curves_dir), purge_step=self.epochs + 1 if self.epochs else None)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE} | {"earlier_seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in (*self.STATE, "earlier_seconds"):
            setattr(self, name, state_dict[name])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.fit_began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of training and validation so far, in all the processes that have carried the run."""
        return self.earlier_seconds + time.perf_counter() - self.fit_began

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopped_at is not None and self.stopped_at == trainer.max_epochs:
            trainer.should_stop = True
        if trainer.is_global_zero:
            keep_metrics(self.run_dir / METRICS_FILE, self.epochs)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_began, self.validation_seconds, self.epoch_images = time.perf_counter(), 0.0, 0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_began = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_seconds += time.perf_counter() - self.validation_began

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.epoch_images += len(batch[1]) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        metrics = pl_module.finished_epoch()
        seconds = time.perf_counter() - self.epoch_began
        self.training_seconds += seconds - self.validation_seconds
        self.images += self.epoch_images
        self.epochs = trainer.current_epoch + 1
        self.stopped_at = trainer.max_epochs if trainer.should_stop else None
        accuracy = metrics.get("val/accuracy")
        if accuracy is None and trainer.limit_val_batches == 0:
            self.best_epoch = self.epochs  # nothing to choose by: the newest stands for the best
        elif accuracy is not None and (self.best_val_accuracy is None or accuracy > self.best_val_accuracy):
            self.best_epoch, self.best_val_accuracy = self.epochs, accuracy
        if not trainer.is_global_zero:
            return
        append_metrics(self.run_dir / METRICS_FILE, {"epoch": self.epochs, "step": trainer.global_step, **metrics})
        for name, value in metrics.items():
            self.tensorboard.add_scalar(name, value, self.epochs)
        self.tensorboard.flush()
        line = f"epoch {self.epochs:{len(str(trainer.max_epochs))}}/{trainer.max_epochs}"
        for split in ("train", "val"):
            if f"{split}/loss" in metrics:
                line += f"  {split} loss {metrics[f'{split}/loss']:.4f}  accuracy {metrics[f'{split}/accuracy']:.2%}  |"
        log.info("%s  %s", line, duration(seconds))


class Checkpoints(Checkpoint):
    """At each epoch's end: best.ckpt, the weights, if it was the best so far; last.ckpt, all that is needed to go on.

    Args:
        epoch_log: knows the best epoch.
    """

    def __init__(self, epoch_log: EpochLog):
        self.epoch_log = epoch_log

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        if self.epoch_log.best_epoch == self.epoch_log.epochs:
            trainer.save_checkpoint(self.epoch_log.run_dir / BEST_CHECKPOINT, weights_only=True)
        trainer.save_checkpoint(self.epoch_log.run_dir / LAST_CHECKPOINT)


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and then moves it there: under its name there is always a whole one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole_file(path) as draft, draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            if isinstance(error.__context__, KeyboardInterrupt | SystemExit):  # what torch complains of
                raise error.__context__ from error
            if isinstance(error, OSError | RuntimeError):  # the latter is torch's for a file that cannot be written
                kept = " is that of the epoch before" if path.exists() else " is not written"
                why = error.strerror if isinstance(error, OSError) else on_one_line(error)
                raise StorageError(f"{path}{kept}: a checkpoint cannot be saved ({why})") from error
            raise


class DivergenceWatch(Callback):
    """Ends the training where the loss is NaN or infinite, before anything is saved of it.

    Looks at every step's loss. A GPU is waited for once a second and at the epoch's end, so that it may run on for so
    long; the step that is named is still the first one. Of several processes the main one decides: the others'
    losses reach it by way of the weights, or at the epoch's end.

    Raises:
        DivergedError: names epoch and step.
    """

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.first: Tensor | None = None  # number of the epoch's first bad step; 0: none so far
        self.looked = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"]
        found = torch.where(loss.isfinite(), 0, batch_idx + 1)
        self.first = found if self.first is None else torch.where(self.first > 0, self.first, found)
        now = time.perf_counter()
        if loss.device.type == "cpu" or trainer.is_last_batch or now - self.looked > LOOK_SECONDS:
            self.looked = now
            if step := int(self.first):
                self._end(trainer, f"step {step} of {trainer.num_training_batches}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        metrics = pl_module.finished_epoch()
        if not all(math.isfinite(value) for value in metrics.values()):
            self._end(trainer, "at its end")

    def _end(self, trainer: pl.Trainer, where: str) -> None:
        if trainer.is_global_zero:
            raise DivergedError(
                f"the loss is no finite number any more (epoch {trainer.current_epoch + 1}, {where}): try a smaller"
                f" optimizer.lr or trainer.gradient_clip_val=1; {LAST_CHECKPOINT} is that of the epoch before"
            )


class CompileClock(Callback):
    """Says how long the first step took, in which the network is compiled."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.seconds: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.began = self.began or time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.seconds is None and self.began is not None:
            self.seconds = time.perf_counter() - self.began
            log.info("compiled the training step in %s", duration(self.seconds))
