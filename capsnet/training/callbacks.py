"""The runner's own callbacks: the end of an epoch, checkpoints, the check for divergence."""

import contextlib
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint
from torch import Tensor

from ..errors import ConfigError, DivergedError
from ..runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT, METRICS_FILE
from ..runs.metrics import write_metrics
from ..settings.config import Monitor, measured_by
from ..text import duration, is_loss, shown
from .averaging import WeightAverage
from .loggers import StepCurves, log_scalars

log = logging.getLogger(__name__)

GPU_CHECK_SECONDS = 1.0  # how often to wait for a GPU to see its losses


class EpochLog(Callback):
    """What happens at the end of each epoch. It keeps the metrics, the best epoch and the times.

    Its state is saved in last.ckpt, so that a resumed run continues the count.

    Args:
        run_dir: the run's folder.
        monitor: what tells the best epoch.
        steps: writes the curves by step, which come before those by epoch.
    """

    STATE = ("epochs", "best_epoch", "images", "training_seconds", "stopped_at", "columns", "rows")

    def __init__(self, run_dir: Path, monitor: Monitor, steps: StepCurves):
        self.run_dir, self.monitor, self.steps = run_dir, monitor, steps
        self.epochs = 0
        self.best_epoch: int | None = None
        self.images, self.training_seconds = 0, 0.0  # of finished epochs
        self.earlier_seconds, self.fit_began = 0.0, time.perf_counter()  # before and after the last resumption
        self.validation_seconds = 0.0
        self.stopped_at: int | None = None  # the trainer.max_epochs that early stopping did not reach
        self.columns: list[str] = []
        self.rows: list[dict[str, float]] = []  # of metrics.csv, which a resumed run writes again

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.STATE} | {"earlier_seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in (*self.STATE, "earlier_seconds"):
            setattr(self, name, state_dict[name])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.fit_began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of training and validation so far, including that before resumptions."""
        return self.earlier_seconds + time.perf_counter() - self.fit_began

    @property
    def best_row(self) -> dict[str, float]:
        """The metrics of the best epoch by name; empty if there is none."""
        return self.rows[self.best_epoch - 1] if self.best_epoch is not None else {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopped_at is not None and self.stopped_at == trainer.max_epochs:
            trainer.should_stop = True
        if trainer.is_global_zero:
            write_metrics(self.run_dir / METRICS_FILE, self.columns, self.rows)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_began, self.validation_seconds, self.epoch_images = time.perf_counter(), 0.0, 0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_began = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_seconds += time.perf_counter() - self.validation_began

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.epoch_images += len(batch[0]) * trainer.world_size
        if batch_idx == 0 and self.epochs == 0:
            self._refuse_unmeasured(pl_module.measurements["train"])

    def _refuse_unmeasured(self, measured: Any) -> None:
        """Raise ConfigError if nothing measures what is monitored: after the first batch, not after an epoch."""
        name = self.monitor.name.partition("/")[2]
        if self.monitor.unknown:
            is_measured = name in measured.losses
        else:
            is_measured = measured_by(name) in (None, *measured.metrics)
        if not is_measured:
            measured.compute()
            if name in (names := measured.names):
                raise ConfigError(
                    f"monitor={name}: is no loss, and no metric says whether higher is better: list it in `also` of the"
                    " dataclass of its metric, or of the task"
                )
            raise ConfigError(f"monitor={name}: is not measured; there are {', '.join(names)}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        metrics = pl_module.finished_epoch()  # from here on also in trainer.callback_metrics, for other callbacks
        if not _is_finite(metrics, pl_module):
            stop_diverged(trainer, self.run_dir, "at its end")
        seconds = self._count(trainer)
        self._add_row(trainer, pl_module.measurements, metrics)
        self._keep_best(trainer, metrics)
        if trainer.is_global_zero:
            self.steps.write(trainer)
            log_scalars(trainer.loggers, metrics | {"epoch": self.epochs}, trainer.global_step)
            write_metrics(self.run_dir / METRICS_FILE, self.columns, self.rows)
            log.info("%s", self._line(trainer.max_epochs, metrics, seconds))

    def _count(self, trainer: pl.Trainer) -> float:
        """Count epoch, images and time; gives the epoch's seconds."""
        seconds = time.perf_counter() - self.epoch_began
        self.training_seconds += seconds - self.validation_seconds
        self.images += self.epoch_images
        self.epochs = trainer.current_epoch + 1
        early = trainer.early_stopping_callback
        stopped = trainer.should_stop and early is not None and early.wait_count >= early.patience
        self.stopped_at = trainer.max_epochs if stopped else None
        return seconds

    def _add_row(self, trainer: pl.Trainer, measured: dict[str, Any], metrics: dict[str, float]) -> None:
        train = measured["train"].names
        names = {"train": train, "val": measured["val"].names or train}
        self.columns = ["epoch", "step", "lr", *(f"{split}/{name}" for split, own in names.items() for name in own)]
        self.rows.append({"epoch": self.epochs, "step": trainer.global_step, **metrics})
        is_tested_only = self.monitor.name.startswith("val/") and not measured["val"].names
        if self.monitor.name not in self.columns and not is_tested_only:
            raise ConfigError(f"monitor={self.monitor.name}: is not measured; there are {', '.join(metrics)}")

    def _keep_best(self, trainer: pl.Trainer, metrics: dict[str, float]) -> None:
        """Is this epoch the best so far? One that is cut short is not, unless it is the only one."""
        if metrics.get(self.monitor.name) is None:
            if trainer.limit_val_batches == 0:
                self.best_epoch = self.epochs  # without validation, the newest counts as the best
        elif not self.best_row or (self.monitor.improves(metrics, self.best_row) and trainer.is_last_batch):
            self.best_epoch = self.epochs

    def _line(self, max_epochs: int, metrics: dict[str, float], seconds: float) -> str:
        """What the terminal says of the epoch."""
        line = f"epoch {self.epochs:{len(str(max_epochs))}}/{max_epochs}"
        for split in ("train", "val"):
            if f"{split}/loss" in metrics:
                line += f"  {split} loss {metrics[f'{split}/loss']:.4f}"
                own = {name.partition("/")[2]: value for name, value in metrics.items() if name.startswith(f"{split}/")}
                line += self._scores({name: value for name, value in own.items() if not is_loss(name)})
        return f"{line}  {duration(seconds)}"

    def _scores(self, measured: dict[str, float]) -> str:
        """, 92.10% (balanced_accuracy 91.20%): the monitored metric first, with its name if it is no percentage."""
        monitored = self.monitor.name.rpartition("/")[2]
        others = [f"{name} {shown(name, value)}" for name, value in measured.items() if name != monitored]
        first = shown(monitored, measured[monitored]) if monitored in measured else ""
        first = f", {first if first.endswith('%') else f'{monitored} {first}'}" if first else ""
        return first + (f" ({', '.join(others)})" if others else "")


def _is_finite(metrics: dict[str, float], pl_module: pl.LightningModule) -> bool:
    weights = (bool(torch.isfinite(weight).all()) for weight in pl_module.parameters())
    return all(map(math.isfinite, metrics.values())) and all(weights)


def stop_diverged(trainer: pl.Trainer, run_dir: Path, where: str) -> None:
    """Raise DivergedError in the main process, which ends the others.

    Args:
        trainer: of the run.
        run_dir: the run's folder.
        where: in the epoch.
    """
    if trainer.is_global_zero:
        kept = f"; {LAST_CHECKPOINT} is from the epoch before" if (run_dir / LAST_CHECKPOINT).exists() else ""
        raise DivergedError(
            f"the loss became NaN or infinite (epoch {trainer.current_epoch + 1}, {where}): try a smaller"
            f" optimizer.lr or trainer.gradient_clip_val=1{kept}"
        )


class EpochSeed(Callback):
    """Makes an epoch's randomness, as of dropout, depend on nothing but seed, epoch and process.

    So a resumed run draws what it would have drawn.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        origin = (self.seed, trainer.current_epoch, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(origin).generate_state(1)[0]))


class StepLimit(Callback):
    """Ends the training after `trainer.max_steps`. With Lightning's own limit, a run could not be resumed.

    Args:
        steps: of the optimizer.
    """

    def __init__(self, steps: int):
        self.steps = steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        if trainer.global_step >= self.steps:
            trainer.fit_loop.min_epochs = 0  # or it would go on until trainer.min_epochs
            trainer.should_stop = True


class Checkpoints(Checkpoint):
    """Saves last.ckpt after each epoch, with all that resuming needs, and best.ckpt, weights only, after the best one.

    An epoch that is cut short, as by `trainer.max_steps` or `trainer.max_time`, is trained again by a resumed run. So
    last.ckpt stays that of the epoch before, if there was one, and best.ckpt that of the best whole epoch. Lightning's
    `ModelCheckpoint` knows neither such epochs nor averaged weights.

    Args:
        epoch_log: knows which epoch is the best.
        average: its weights are saved in best.ckpt, if there is one.
    """

    def __init__(self, epoch_log: EpochLog, average: WeightAverage | None = None):
        self.epoch_log, self.average = epoch_log, average

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        if self.epoch_log.best_epoch == self.epoch_log.epochs:
            self.save_best(trainer)
        if trainer.is_last_batch or self.epoch_log.epochs == 1:
            trainer.save_checkpoint(self.epoch_log.run_dir / LAST_CHECKPOINT)

    def save_best(self, trainer: pl.Trainer) -> None:
        """Save what would be tested now. Every process has to call it."""
        with self.average.in_place(trainer.lightning_module) if self.average else contextlib.nullcontext():
            trainer.save_checkpoint(self.epoch_log.run_dir / BEST_CHECKPOINT, weights_only=True)


class DivergenceCheck(Callback):
    """Stops the training at a step whose loss is NaN or infinite.

    Every step's loss is checked. On a GPU the result is read once a second and at the end of the epoch, so training may
    go on for that long; the error still names the first bad step. With several processes the main one decides. It sees
    the others' losses through the weights, or at the end of the epoch, see `EpochLog`.

    Args:
        run_dir: the run's folder.

    Raises:
        DivergedError: names epoch and step.
    """

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.first: Tensor | None = None  # number of the epoch's first bad step; 0: none yet
        self.checked = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"]
        bad = torch.where(loss.isfinite(), 0, batch_idx + 1)
        self.first = bad if self.first is None else torch.where(self.first > 0, self.first, bad)
        now = time.perf_counter()
        if loss.device.type == "cpu" or trainer.is_last_batch or now - self.checked > GPU_CHECK_SECONDS:
            self.checked = now
            if step := int(self.first):
                stop_diverged(trainer, self.run_dir, f"step {step} of {trainer.num_training_batches}")


class CompileTimer(Callback):
    """Logs how long the first step took, in which the network is compiled."""

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
