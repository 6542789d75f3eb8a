"""What a person sees while a network trains: a bar with time left, and one line per finished epoch."""

import sys
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm


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


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.1 s, 12 min 40 s, 3 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def aligned(rows: dict[str, str]) -> str:
    """Names and values in two columns, a line each."""
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())
