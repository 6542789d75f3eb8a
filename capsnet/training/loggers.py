"""What the runner gives to the Trainer's loggers: the config, curves by epoch and by step, figures, the outcome."""

import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard.summary import hparams

from ..runs.record import RunRecord
from ..settings.config import OPTIONS, Config, as_dict, name_of, option_of
from ..settings.config import hyperparameters as settings_shown

FIGURES_TAG = "visuals"  # TIME SERIES sorts cards by tag: figures come after the curves, test/ to val/
CSV_FOLDER = "csv"
SECONDS_BETWEEN_WRITES = 5.0


class Curves(TensorBoardLogger):
    """Lightning's logger, with its file in a given folder and open until the test has been logged.

    Args:
        folder: for the event file.
        purge_step: TensorBoard forgets what an earlier process has logged from this step on.
    """

    def __init__(self, folder: Path, purge_step: int | None = None):
        super().__init__(str(folder), name="", version="", purge_step=purge_step)

    def save(self) -> None:
        """Write what is waiting; without Lightning's hparams.yaml."""
        if self._experiment is not None:
            self._experiment.flush()

    def finalize(self, status: str) -> None:
        """After `fit` there is still the test to be logged."""
        self.save()


def built_in_loggers(config: Config, run_dir: Path, curves_dir: Path, resumed_step: int | None) -> list[Logger]:
    """The loggers that a config names without a `_target_`.

    Args:
        config: of the run.
        run_dir: its folder.
        curves_dir: folder for TensorBoard's file.
        resumed_step: the last optimizer step that is not trained again, in a run that is resumed.
    """
    loggers: list[Logger] = []
    if "tensorboard" in config.logger:
        loggers.append(Curves(curves_dir, None if resumed_step is None else resumed_step + 1))
    if "csv" in config.logger:
        loggers.append(CSVLogger(run_dir, name=CSV_FOLDER))
    return loggers


def log_scalars(loggers: Sequence[Logger], values: Mapping[str, float], step: int) -> None:
    for logger in loggers:
        logger.log_metrics(dict(values), step)


def log_config(loggers: Sequence[Logger], config: Config, results: RunRecord) -> None:
    """Log what is going to be trained: to TensorBoard as a text, to the others as hyper-parameters.

    MLflow and W&B would name every run at random, MLflow by the seed; so they get a name that says what it is.
    """
    for logger in loggers:
        if isinstance(logger, MLFlowLogger) and logger._run_name is None:
            logger.experiment.update_run(logger.run_id, name=run_name(config, results))
        if isinstance(logger, WandbLogger) and logger._wandb_init["name"] is None:
            logger.experiment.name = run_name(config, results)
        if isinstance(logger, TensorBoardLogger):
            text = yaml.safe_dump(as_dict(config), sort_keys=False, allow_unicode=True)
            logger.experiment.add_text("config", f"```\n{text}```")
        else:
            logger.log_hyperparams(hyperparameters(config, results))


def run_name(config: Config, results: RunRecord) -> str:
    """Its own, or else network, data and what was overridden, such as: capsnet kmnist routing.iters=1."""
    if config.name is not None:
        return config.name
    chosen = {group: name_of(group, option_of(group, getattr(config, group))) for group in ("model", "data")}
    said = (*chosen, "logger", "callbacks")
    return " ".join([*chosen.values(), *(one for one in results.overrides if one.partition("=")[0] not in said)])


def hyperparameters(config: Config, results: RunRecord) -> dict[str, Any]:
    """By key, those that were overridden first."""
    values = settings_shown(config)
    values["trainer.precision"] = results.precision
    keys = [override.partition("=")[0].lstrip("+~") for override in results.overrides]
    keys = [f"{key}.name" if key in OPTIONS else key for key in keys]
    first = [name for key in keys for name in values if name == key or name.startswith(f"{key}.")]
    return {name: values[name] for name in dict.fromkeys([*first, *values])}


def log_outcome(loggers: Sequence[Logger], config: Config, results: RunRecord, best_step: int) -> None:
    """Log how a run ended.

    Args:
        loggers: of the run.
        config: of the run.
        results: its record.
        best_step: the optimizer step of the best epoch.
    """
    measured = {name: value for name, value in results.metrics.items() if name.startswith("test/")}
    monitored = results.monitor.rpartition("/")[2]
    outcome = {f"hparam/{split}_{monitored}": results.metrics.get(f"{split}/{monitored}") for split in ("val", "test")}
    for logger in loggers:
        if measured:
            logger.log_metrics(measured, best_step)
        if isinstance(logger, TensorBoardLogger):
            # TensorBoard takes its columns from the first run it reads, so every run logs all of them. They go into the
            # run's own event file; the writer's own method would add a folder.
            for summary in hparams(hyperparameters(config, results), outcome):
                logger.experiment._get_file_writer().add_summary(summary)
        if known := {name: value for name, value in outcome.items() if value is not None}:
            logger.log_metrics(known, best_step)
        logger.save()


def log_figures(loggers: Sequence[Logger], figures: Mapping[str, bytes], step: int) -> None:
    """Log PNG files by name, to TensorBoard as they are."""
    for logger in loggers:
        for name, png in figures.items():
            tag = f"{FIGURES_TAG}/{name}"
            if isinstance(logger, TensorBoardLogger):
                width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))  # as the PNG header says
                image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=4)
                summary = Summary(value=[Summary.Value(tag=tag, image=image)])
                logger.experiment._get_file_writer().add_summary(summary, step)
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_image(logger.run_id, Image.open(io.BytesIO(png)), artifact_file=f"{tag}.png")
            elif callable(log_image := getattr(logger, "log_image", None)):
                log_image(tag, [Image.open(io.BytesIO(png))], step=step)


def close_loggers(loggers: Sequence[Logger], completed: bool) -> None:
    """Tell how the run ended, and close what the next job of a sweep would else go on with."""
    for logger in loggers:
        if isinstance(logger, Curves):
            if logger._experiment is not None:
                logger._experiment.close()
            continue
        logger.finalize("success" if completed else "failed")
        if isinstance(logger, WandbLogger) and logger._experiment is not None:
            logger._experiment.finish(0 if completed else 1)


class StepCurves(Callback):
    """Logs loss, learning rate and gradient norm by optimizer step, as step/loss, step/lr and step/gradient_norm.

    They stay on the device, and are read and written together: at the end of an epoch and, on a CPU, every few seconds.
    So no step waits for them. With several processes, the loss is that of the main one's share of the batch; with
    accumulated gradients, that of the last batch. The norm is that before clipping.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[int, float, Tensor]] = []
        self.written = time.perf_counter()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        step = trainer.global_step + 1
        batches = trainer.accumulate_grad_batches  # of a step
        every = math.ceil(min(trainer.log_every_n_steps * batches, trainer.num_training_batches) / batches)
        if not trainer.is_global_zero or not trainer.loggers or step % every:
            return
        gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).detach()
        values = torch.stack([pl_module.latest_loss.float(), norm.float()])
        self.waiting.append((step, optimizer.param_groups[0]["lr"], values))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if on_cpu and time.perf_counter() - self.written > SECONDS_BETWEEN_WRITES:
            self.write(trainer)

    def write(self, trainer: pl.Trainer) -> None:
        """Write what is waiting."""
        if self.waiting:
            steps, rates, values = zip(*self.waiting, strict=True)
            self.waiting = []
            for step, rate, (loss, norm) in zip(steps, rates, torch.stack(values).tolist(), strict=True):
                log_scalars(trainer.loggers, {"step/loss": loss, "step/lr": rate, "step/gradient_norm": norm}, step)
        self.written = time.perf_counter()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.write(trainer)  # how the loss diverged
