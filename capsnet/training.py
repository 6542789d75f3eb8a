"""Training a CapsNet with Lightning, and the report at its end."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from .callbacks import Checkpoints, CompileClock, DivergenceWatch, EpochLog, TrainingBar, WholeFiles
from .checkpoint import read_checkpoint
from .config import Config, TrainerConfig, config_digest, settings
from .data import ImageDataModule
from .errors import CheckpointError, ConfigError, DivergedError, StorageError, on_one_line
from .evaluation import evaluate
from .module import CapsNetModule
from .processes import OneMachine, further_processes, share_of_threads
from .results import (
    BEST_CHECKPOINT,
    LAST_CHECKPOINT,
    METRICS,
    RunResults,
    alone_in,
    combined_digest,
    curves_folder,
    git_state,
    processor_name,
    refuse_used,
    started_with_others,
    versions,
)
from .terminal import run_outcome, run_summary

log = logging.getLogger(__name__)

NOT_HYPERPARAMETERS = ("data.root", "data.download", "data.mirror", "trainer.")


def train(
    config: Config,
    run_dir: Path,
    overrides: list[str] | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    environment: OneMachine | None = None,
    swept: dict[str, str] | None = None,
) -> RunResults:
    """Train a CapsNet, test its best checkpoint, and leave everything in the run's folder.

    Args:
        config: a checked config.
        run_dir: an existing folder.
        overrides: what the person asked for, for the record.
        callbacks: Lightning callbacks to be called beside the runner's own.
        resume: go on from the folder's last checkpoint, or from the start where there is none yet.
        environment: this process's place among others, where another process has started it.
        swept: in a sweep, what tells this run from the others: TensorBoard shows it by these keys and values.

    Returns:
        The content of results.json; in a helper process of a distributed run, one that nobody writes.

    Raises:
        ConfigError: the device or another choice of the trainer is not to be had.
        DataError: the dataset cannot be read.
        CheckpointError: the checkpoint to resume from is damaged.
        BusyError: another process is training in the folder.
        DivergedError: the loss became NaN or infinite.
    """
    _quieten()
    if environment is None and not started_with_others():
        _refuse_other_launchers(config.trainer)
        environment = OneMachine()
    if rank_zero_only.rank > 0 or (environment is not None and environment.local_rank() > 0):
        logging.getLogger(__package__).setLevel(logging.ERROR)
        return _run(config, run_dir, overrides or [], callbacks, resume, environment, {})
    with alone_in(run_dir):
        if not resume:
            refuse_used(run_dir)
        for draft in (*run_dir.glob("*.part"), *run_dir.glob("*/*.part")):  # left by a process that was killed
            draft.unlink(missing_ok=True)
        return _run(config, run_dir, overrides or [], callbacks, resume, environment, swept or {})


def _run(
    config: Config,
    run_dir: Path,
    overrides: list[str],
    callbacks: Sequence[Callback],
    resume: bool,
    environment: OneMachine | None,
    swept: dict[str, str],
) -> RunResults:
    data = ImageDataModule(config.data, config.augment, config.seed)
    data.setup("fit")
    _check_against_data(config, data)
    epoch_log = EpochLog(run_dir, curves_folder(run_dir, swept))
    trainer = _build_trainer(config, epoch_log, callbacks, environment, validates=data.val_split is not None)
    is_main = trainer.is_global_zero
    pl.seed_everything(config.seed, verbose=False)
    try:
        module = CapsNetModule(config, data.image_shape, len(data.class_names))
    except ValueError as error:
        raise ConfigError(f"data.name={config.data.name}: {error}") from error
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise ConfigError(f"model: a network of this size cannot be built here ({on_one_line(error)[:200]})") from error
    checkpoint = run_dir / LAST_CHECKPOINT if resume and (run_dir / LAST_CHECKPOINT).exists() else None
    if checkpoint is not None:
        _check_resumable(checkpoint, module)
    results = RunResults(
        status="running",
        dataset=_dataset_record(data),
        overrides=overrides,
        seed=config.seed,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        device=_device_name(trainer),
        precision=trainer.precision,
        versions=versions(),
        **git_state(),
        config_sha256=config_digest(config),
    )
    if is_main:
        results.write(run_dir)
        log.info("%s\n", run_summary(config, data, results, run_dir, trainer.world_size))
    try:
        with _processes(trainer, environment, config, run_dir, resume):
            _fit(trainer, module, data, epoch_log, results, checkpoint)
        if is_main:
            _test(trainer, module, data, epoch_log, results)
        results.status = "completed"
    except (KeyboardInterrupt, SystemExit):  # a cluster's requeueing ends the process by the latter, as Lightning does
        results.status = "interrupted"
    except DivergedError as error:
        results.status, results.reason = "diverged", str(error)
        raise
    except StorageError as error:
        results.status, results.reason = "failed", str(error)
        raise
    except OSError as error:
        results.status, results.reason = "failed", f"{error.filename or run_dir}: {error.strerror or error}"
        raise StorageError(results.reason) from error
    except BaseException as error:
        results.status, results.reason = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        if is_main:
            with contextlib.nullcontext() if results.status == "completed" else contextlib.suppress(OSError):
                results.write(run_dir)
            with contextlib.suppress(OSError):
                _log_hyperparameters(epoch_log.tensorboard, config, results, swept)
                epoch_log.tensorboard.close()
    if is_main:
        log.info("\n%s", run_outcome(results, run_dir))
    return results


def _fit(
    trainer: pl.Trainer,
    module: CapsNetModule,
    data: ImageDataModule,
    epoch_log: EpochLog,
    results: RunResults,
    checkpoint: Path | None,
) -> None:
    """Train, and note what came of it; raises KeyboardInterrupt or SystemExit where it was stopped."""
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {on_one_line(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = on_one_line(error).partition(" Set TORCH")[0]
            raise ConfigError(f"trainer.compile=true: torch.compile fails here ({reason})") from error
        raise
    finally:
        results.train_seconds = round(epoch_log.seconds, 3)
        results.epochs, results.best_epoch = epoch_log.epochs, epoch_log.best_epoch
        results.val_accuracy = epoch_log.best_val_accuracy
        if epoch_log.training_seconds:
            results.train_images_per_second = round(epoch_log.images / epoch_log.training_seconds, 1)


def _check_resumable(path: Path, module: CapsNetModule) -> None:
    """Raise CheckpointError where a training cannot go on from a checkpoint; Lightning's own errors would say less."""
    content = read_checkpoint(path)
    state, log_state = content.get("state_dict"), (content.get("callbacks") or {}).get(EpochLog.__qualname__)
    own = {name: value.shape for name, value in module.state_dict().items()}
    if not isinstance(state, dict) or own != {name: getattr(value, "shape", None) for name, value in state.items()}:
        raise CheckpointError(f"{path}: its weights do not fit the network that its config describes")
    whole = all(content.get(key) for key in ("optimizer_states", "lr_schedulers", "loops"))
    if not whole or not isinstance(log_state, dict) or not {*EpochLog.STATE, "earlier_seconds"} <= log_state.keys():
        raise CheckpointError(f"{path}: holds no training to go on with, or one of another version of this project")


def _check_against_data(config: Config, data: ImageDataModule) -> None:
    interval, batches = config.trainer.val_check_interval, -(-data.counts["train"] // config.data.batch_size)
    if isinstance(interval, int) and interval > batches:
        raise ConfigError(f"trainer.val_check_interval={interval}: an epoch has no more than {batches} batches")


def _refuse_other_launchers(trainer: TrainerConfig) -> None:
    """Raise ConfigError where the processes would have to be started in another way than ours."""
    if trainer.num_nodes > 1:
        raise ConfigError(f"trainer.num_nodes={trainer.num_nodes}: several machines need torchrun or SLURM to start on")
    if trainer.strategy.endswith(("spawn", "fork", "notebook")):
        raise ConfigError(f"trainer.strategy={trainer.strategy}: the runner starts its processes itself; say ddp")


@contextlib.contextmanager
def _processes(
    trainer: pl.Trainer, environment: OneMachine | None, config: Config, run_dir: Path, resume: bool
) -> Iterator[None]:
    """The other processes of this machine and a share of the processor for each, while it lasts."""
    if environment is None or environment.local_rank() > 0 or trainer.num_devices == 1:
        yield
        return
    on_cpu = trainer.strategy.root_device.type == "cpu"
    with (
        share_of_threads(trainer.num_devices) if on_cpu else contextlib.nullcontext(),
        further_processes(environment, trainer.num_devices, config, run_dir, resume),
    ):
        yield


def _test(
    trainer: pl.Trainer, module: CapsNetModule, data: ImageDataModule, epoch_log: EpochLog, results: RunResults
) -> None:
    """Score the best checkpoint on the test images, once, and draw the figures."""
    best = epoch_log.run_dir / BEST_CHECKPOINT
    if not best.exists() and not module.config.trainer.fast_dev_run:  # ended before the first validation
        trainer.save_checkpoint(best, weights_only=True)
        results.best_epoch = results.epochs
    if best.exists():
        module.load_state_dict(read_checkpoint(best)["state_dict"])
    data.setup("test")
    results.dataset = _dataset_record(data)
    network = module.network.to(trainer.strategy.root_device)
    report, drawn = evaluate(network, data, module.config, epoch_log.run_dir, best, results.best_epoch)
    results.test_accuracy, results.test_loss = report["accuracy"], report["loss"]
    for name in METRICS:
        epoch_log.tensorboard.add_scalar(f"test/{name}", report[name], results.best_epoch)
    for name, figure in drawn.items():
        epoch_log.tensorboard.add_figure(f"figures/{name}", figure, results.epochs)


def resolve_precision(trainer: TrainerConfig) -> str:
    """What `trainer.precision=auto` means on this machine."""
    if trainer.precision != "auto":
        return trainer.precision
    if trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if trainer.accelerator in ("auto", "cpu"):
        return "bf16-mixed" if computes_in_bfloat16() else "32-true"
    return "32-true"


def computes_in_bfloat16() -> bool:
    """Does this processor have instructions that multiply bfloat16? Without, bf16 is slower than float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16"))


def _build_trainer(
    config: Config,
    epoch_log: EpochLog,
    more_callbacks: Sequence[Callback],
    environment: OneMachine | None,
    validates: bool,
) -> pl.Trainer:
    arguments = {key: value for key, value in vars(config.trainer).items() if value is not None}
    del arguments["compile"]  # ours, not Lightning's
    arguments["precision"] = resolve_precision(config.trainer)
    validates = validates and config.trainer.limit_val_batches != 0
    callbacks: list[Callback] = [TrainingBar()] if config.trainer.enable_progress_bar else []
    callbacks += [DivergenceWatch(), epoch_log, Checkpoints(epoch_log), *more_callbacks]
    if config.trainer.compile:
        callbacks.append(CompileClock())
    if not validates:
        arguments["limit_val_batches"] = 0
    if config.early_stopping.patience is not None and validates:
        callbacks.append(
            EarlyStopping("val/accuracy", mode="max", check_on_train_epoch_end=False, **vars(config.early_stopping))
        )
    try:
        trainer = pl.Trainer(
            **arguments,
            callbacks=callbacks,
            plugins=[WholeFiles(), *([environment] if environment else [])],
            logger=False,
            default_root_dir=epoch_log.run_dir,
            enable_model_summary=False,
            use_distributed_sampler=False,  # the batches know their process themselves
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise ConfigError(f"trainer: {on_one_line(error)}") from error
    if trainer.precision.split("-")[0] != arguments["precision"].split("-")[0]:  # Lightning took another one
        raise ConfigError(
            f"trainer.precision={arguments['precision']}: not to be had on this device, which would take"
            f" {trainer.precision}"
        )
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > max(2, processors):
        raise ConfigError(f"trainer.devices={trainer.num_devices}: more processes than this machine has processors")
    return trainer


def _dataset_record(data: ImageDataModule) -> dict[str, Any]:
    source = data.source
    return {
        "name": source.name,
        "official": source.official,
        "sha256": combined_digest(source.sha256),
        "files": source.sha256,
        **data.counts,
    }


def _device_name(trainer: pl.Trainer) -> str:
    processes = f" x {trainer.world_size}" if trainer.world_size > 1 else ""
    if trainer.strategy.root_device.type == "cuda":
        return torch.cuda.get_device_name(trainer.strategy.root_device) + processes
    return f"{processor_name()}, {torch.get_num_threads()} threads{processes}"


def _log_hyperparameters(
    tensorboard: SummaryWriter, config: Config, results: RunResults, swept: dict[str, str]
) -> None:
    """Fill TensorBoard's HPARAMS tab, in the run's own event file (the writer's own method would add a folder)."""
    values = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value, _ in settings(config)
        if value is not None
    }
    if swept:
        chosen = {key: values.get(key, text) for key, text in swept.items()}
    else:
        chosen = {key: value for key, value in values.items() if not key.startswith(NOT_HYPERPARAMETERS)}
        chosen |= {"trainer.max_epochs": config.trainer.max_epochs, "trainer.precision": results.precision}
    outcome = {"hparam/val_accuracy": results.val_accuracy, "hparam/test_accuracy": results.test_accuracy}
    for summary in hparams(chosen, outcome):  # names both columns: TensorBoard takes those of the first run it meets
        tensorboard.file_writer.add_summary(summary)
    for name, value in outcome.items():
        if value is not None:
            tensorboard.add_scalar(name, value, results.epochs)


def _quieten() -> None:
    """Keep Lightning's advertisements and notes on what is meant here out of the terminal."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # trainer.profiler reports here
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # trainer.compile looks for CUDA there
    warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")  # refused
    warnings.filterwarnings("ignore", message=".*`srun` command is available")  # the login machine is no job
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # between Lightning and torch
