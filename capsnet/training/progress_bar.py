"""The progress bar of a training."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from ..text import duration, shown

NOTEBOOK_COLUMNS = 100


def _in_notebook() -> bool:
    """Does the output appear below a notebook's cell?"""
    return type(sys.stderr).__module__.startswith("ipykernel")


class EpochProgressBar(pl.callbacks.ProgressBar):
    """A bar for each epoch, with the time left for the whole run; in a terminal or a notebook.

    It reads the metrics from the device only when it is redrawn. Lightning's bars read them in every step, count the
    epochs from 0, and write to files, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._bar = tqdm(disable=True)

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began, self._first_epoch = time.perf_counter(), trainer.current_epoch
        self._bar = tqdm(
            total=int(trainer.num_training_batches),
            disable=not (self._enabled and (sys.stderr.isatty() or _in_notebook()) and trainer.is_global_zero),
            leave=False,
            **({"ncols": NOTEBOOK_COLUMNS} if _in_notebook() else {"dynamic_ncols": True}),
            mininterval=0.5,
            unit="",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {unit}",
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.unit = ""
        self._bar.set_description_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", refresh=False)
        self._bar.reset()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if self._bar.update():  # it has just been redrawn, so this is the time to look at the device
            means = pl_module.running_means()
            name, value = list(means.items())[-1]
            left = duration(self._seconds_left(trainer))
            self._bar.unit = f"loss {means['loss']:.4f}, {name} {shown(name, value)}, {left} left"

    def _seconds_left(self, trainer: pl.Trainer) -> float:
        """For the whole run, judging by the epochs so far."""
        done = trainer.current_epoch - self._first_epoch + self._bar.n / self._bar.total
        remaining = (trainer.max_epochs or 1) - self._first_epoch - done
        return (time.perf_counter() - self._began) / done * max(remaining, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.clear()  # makes room for the epoch's line

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.close()
