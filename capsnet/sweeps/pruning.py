"""Ending a search's job early, if it promises less than others did: the trial reaches the job in the same process."""

from typing import Any

import pytorch_lightning as pl


class Pruning(pl.Callback):
    """Reports the monitored metric after each epoch, and ends the training when Optuna's pruner says so.

    Args:
        trial: of Optuna.
        monitor: such as val/accuracy.
    """

    def __init__(self, trial: Any, monitor: str):
        self.trial, self.monitor, self.pruned = trial, monitor, False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is None or trainer.sanity_checking:
            return
        self.trial.report(float(value), trainer.current_epoch)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True
