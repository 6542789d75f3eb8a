"""Lightning's Trainer, built from the settings, and the precision it computes in."""

import logging
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ProgressBar
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import ConfigError
from ..runs.provenance import processor_name
from ..settings.config import Config
from ..settings.trainer import Trainer
from ..text import counted, on_one_line
from .averaging import WeightAverage
from .callbacks import Checkpoints, CompileTimer, DivergenceCheck, EpochLog, EpochSeed, StepLimit
from .checkpoint_io import AtomicCheckpointIO
from .choices import has_bfloat16
from .processes import OneMachine
from .progress_bar import EpochProgressBar

log = logging.getLogger(__name__)


def build_trainer(
    config: Config,
    epoch_log: EpochLog,
    more_callbacks: Sequence[Callback],
    environment: OneMachine | None,
    validates: bool,
    precision: str,
) -> pl.Trainer:
    """The Trainer for a run.

    Args:
        config: of the run.
        epoch_log: of the run.
        more_callbacks: called beside the runner's own.
        environment: this process's place among those of this machine; None if torchrun or SLURM started them.
        validates: there are validation images.
        precision: of Lightning, such as bf16-mixed.

    Raises:
        ConfigError: the device or another choice is not available here.
    """
    arguments = {key: value for key, value in vars(config.trainer).items() if value is not None}
    for ours in ("compile", "fourier", "layout", "average_weights", "max_steps"):  # not Lightning's, or not left to it
        arguments.pop(ours, None)
    arguments["precision"] = precision
    if not validates:
        arguments["limit_val_batches"] = 0
    try:
        trainer = pl.Trainer(
            **arguments,
            callbacks=[*_callbacks(config, epoch_log, more_callbacks), *more_callbacks],
            plugins=[AtomicCheckpointIO(), *([environment] if environment else [])],
            logger=False,  # they are added when it is known from which step on they log
            default_root_dir=epoch_log.run_dir,
            enable_model_summary=False,
            use_distributed_sampler=False,  # the batches know their process themselves
        )
    except Exception as error:
        raise ConfigError(f"trainer: {on_one_line(error)}") from error
    _check_device(trainer, precision)
    return trainer


def _callbacks(config: Config, epoch_log: EpochLog, others: Sequence[Callback]) -> list[Callback]:
    """The runner's own. They come before the others, which so find the finished epoch's metrics."""
    callbacks: list[Callback] = []
    if config.trainer.enable_progress_bar and not any(isinstance(other, ProgressBar) for other in others):
        callbacks.append(EpochProgressBar())
    average = WeightAverage(config.trainer.average_weights) if config.trainer.average_weights else None
    callbacks += [average] if average else []
    callbacks.append(EpochSeed(config.seed))
    callbacks += [DivergenceCheck(epoch_log.run_dir), epoch_log.steps, epoch_log, Checkpoints(epoch_log, average)]
    if config.trainer.max_steps is not None:
        callbacks.append(StepLimit(config.trainer.max_steps))
    if config.trainer.compile:
        callbacks.append(CompileTimer())
    if (patience := config.early_stopping.patience) is not None:
        if config.trainer.limit_val_batches == 0:  # not in `check`: saved configs with it have to be read
            raise ConfigError(f"early_stopping.patience={patience}: needs validation, but trainer.limit_val_batches=0")
        monitor, settings = epoch_log.monitor, dict(vars(config.early_stopping))
        if not monitor.name.startswith("val/"):
            raise ConfigError(f"early_stopping.patience={patience}: goes by validation, but monitor={monitor.name}")
        mode = "min" if monitor.lower_is_better else "max"
        settings |= {"check_on_train_epoch_end": False, "strict": False}  # a metric may be NaN, and so not measured
        callbacks.append(EarlyStopping(monitor.name, mode=mode, **settings))
    return callbacks


def _check_device(trainer: pl.Trainer, precision: str) -> None:
    if trainer.precision.split("-")[0] != precision.split("-")[0]:  # Lightning chose another one
        raise ConfigError(
            f"trainer.precision={precision}: not available on this device, which would use {trainer.precision}"
        )
    if trainer.strategy.root_device.type != "cpu":
        return
    if precision.startswith("bf16") and not has_bfloat16():
        log.warning(
            "trainer.precision=%s: on this processor bfloat16 is slower than trainer.precision=32-true, up to 20 times",
            precision,
        )


def device_name(trainer: pl.Trainer) -> str:
    """What a training computes on: the GPU, or the processor with its threads, and the number of processes."""
    processes = f" x {trainer.world_size}" if trainer.world_size > 1 else ""
    if trainer.strategy.root_device.type == "cuda":
        return torch.cuda.get_device_name(trainer.strategy.root_device) + processes
    threads = max(1, torch.get_num_threads() // trainer.num_devices)  # the processes share the processor
    return f"{processor_name()}, {counted(threads, 'thread')}{processes}"


def refuse_missing_gpu(settings: Trainer) -> None:
    """Raise ConfigError if the settings ask for a GPU, and there is none. It is said before images are downloaded."""
    if settings.accelerator in ("gpu", "cuda") and not torch.accelerator.is_available():
        raise ConfigError(f"trainer.accelerator={settings.accelerator}: torch finds no GPU here; use trainer=cpu")


def refuse_other_launchers(settings: Trainer) -> None:
    """Raise ConfigError if the settings ask for a launcher that the runner does not have."""
    if settings.num_nodes > 1:
        raise ConfigError(f"trainer.num_nodes={settings.num_nodes}: for several machines, use torchrun or SLURM")
    if settings.strategy.endswith(("spawn", "fork", "notebook")):
        raise ConfigError(f"trainer.strategy={settings.strategy}: the runner starts its processes itself; use ddp")


def refuse_foreign_norms(network: nn.Module) -> None:
    """Raise ConfigError if a network has normalizations that torch would replace by others to synchronize them."""
    for part in network.modules():
        if isinstance(part, _BatchNorm) and not type(part).__module__.startswith("torch."):
            raise ConfigError("trainer.sync_batchnorm=true: this network's own batch normalization cannot do that")


def refuse_long_interval(config: Config, batches: int) -> None:
    """Raise ConfigError if validation would come later than an epoch of so many batches ends."""
    interval = config.trainer.val_check_interval
    if isinstance(interval, int) and interval > batches:
        raise ConfigError(f"trainer.val_check_interval={interval}: an epoch has only {batches} batches")
