"""One run: train a network, test its best checkpoint, and leave everything in the run's folder."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from ..data.dataset import Dataset
from ..errors import CapsNetError, ConfigError, DivergedError, StorageError
from ..reports.evaluation import evaluate
from ..reports.terminal import run_outcome, run_summary
from ..runs.checkpoints import read_checkpoint
from ..runs.folder import (
    BEST_CHECKPOINT,
    LOG_FILE,
    RECORD_FILE,
    curves_folder,
    locked,
    refuse_existing_run,
    remove_drafts,
)
from ..runs.record import RunRecord, new_record, read_record, recorded_computing
from ..settings.config import Config, as_dict, monitor_of, name_of
from ..settings.plugins import loaded_plugin
from ..text import on_one_line
from .allocation import freed_memory_kept
from .callbacks import Checkpoints, EpochLog
from .choices import Decision, apply, decide, recorded_decision, ruled_decision
from .datamodule import KMNISTDataModule
from .label_forms import refuse_without_probabilities, refuse_without_weights
from .launch_environment import started_by_launcher
from .loggers import (
    StepCurves,
    built_in_loggers,
    close_loggers,
    log_config,
    log_figures,
    log_outcome,
)
from .memory import available_memory, memory_errors_in_one_line, memory_line, memory_need, refuse_too_large
from .module import CapsNetModule
from .processes import OneMachine, further_processes, share_of_threads
from .resuming import Resumption, checkpoint_to_resume
from .run_log import run_log
from .trainer import (
    build_trainer,
    device_name,
    refuse_foreign_norms,
    refuse_long_interval,
    refuse_missing_gpu,
    refuse_other_launchers,
)

log = logging.getLogger(__name__)


def train(
    config: Config,
    run_dir: Path,
    overrides: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    environment: OneMachine | None = None,
    label: str = "",
    computing: dict[str, Any] | None = None,
    loggers: Sequence[Logger] = (),
    foreign: Sequence[str] | None = None,
) -> RunRecord:
    """Train a network, test its best checkpoint, and leave everything in the run's folder.

    Args:
        config: a checked config.
        run_dir: an existing folder.
        overrides: the overrides of the command line, for the record.
        callbacks: more Lightning callbacks, beside the runner's own.
        resume: continue from the folder's last checkpoint, or start if there is none yet.
        environment: this process's place among others, if another process started it.
        label: in a sweep, what distinguishes this run from the others; TensorBoard shows it as part of the run's name.
        computing: how another run or process computes, see `RunRecord.computing`, to do the same; None: as this run
            began, or as is fastest here.
        loggers: more Lightning loggers, beside those that the config names without a `_target_`.
        foreign: where callbacks and loggers come from, for the record; None: their classes.

    Returns:
        The content of results.json. In a further process of a distributed run, it is not written.

    Raises:
        ConfigError: the device or another choice of the trainer is not available.
        DataError: the dataset cannot be read.
        CheckpointError: the checkpoint to resume from is damaged.
        FolderInUseError: another process is training in the folder.
        DivergedError: the loss became NaN or infinite.
        StorageError: a file cannot be written.
    """
    _quieten_libraries()
    refuse_missing_gpu(config.trainer)
    if environment is None and not started_by_launcher():
        refuse_other_launchers(config.trainer)
        environment = OneMachine()
    if environment is not None:
        rank_zero_only.rank = environment.local_rank()  # not what a leftover RANK or SLURM_PROCID says
    is_main = rank_zero_only.rank == 0
    with contextlib.ExitStack() as whole_run:
        if is_main:
            whole_run.enter_context(locked(run_dir))
            start_log = whole_run.enter_context(run_log(run_dir / LOG_FILE))
            if not resume:
                refuse_existing_run(run_dir)
        else:
            logging.getLogger("capsnet").setLevel(logging.ERROR)
        whole_run.enter_context(memory_errors_in_one_line())

        began = time.perf_counter()
        data = _read_training_images(config)
        dataset, validates = data.dataset, data.dataset.val_split is not None
        takes_ram = not torch.cuda.is_available() or config.trainer.accelerator == "cpu"
        free = available_memory(on_cpu=takes_ram)
        shape, held = config.task.build().image_shape(dataset.image_shape), sum(dataset.counts.values())
        refuse_too_large(config, dataset.image_shape, len(dataset.class_names), free)
        module = _build_module(config, dataset)
        if config.trainer.sync_batchnorm:
            refuse_foreign_norms(module.network)
        need = memory_need(module.network, shape, min(config.data.batch_size, held), held)

        if is_main and free is not None and need.total > free:  # before steps are timed, which takes all of it
            log.warning("This training needs %s", memory_line(need, free, takes_ram))

        earlier = read_record(run_dir) if resume and (run_dir / RECORD_FILE).exists() else {}
        decision = _decide(config, module, dataset, recorded_computing(earlier) or computing)
        apply(decision.choice, module.network)

        monitor = monitor_of(config)
        epoch_log = EpochLog(run_dir, monitor, StepCurves())
        trainer = build_trainer(config, epoch_log, callbacks, environment, validates, decision.choice.precision)
        begin = checkpoint_to_resume(config, run_dir, earlier, dataset, module, trainer) if resume else Resumption()
        initial = earlier.get("init") if begin.checkpoint else module.begin()
        own = built_in_loggers(config, run_dir, curves_folder(run_dir, label), begin.step if resume else None)
        trainer.loggers = [*own, *loggers]

        results = new_record(
            "running",
            list(overrides),
            dataset=dataset.record(),
            name=config.name,
            tags=config.tags,
            init=initial,
            seed=config.seed,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            device=device_name(trainer),
            precision=trainer.precision,
            computing=decision.record(),
            monitor=monitor.name,
            lower_is_better=monitor.lower_is_better,
            config=as_dict(config),
            foreign=_foreign(earlier, [*callbacks, *loggers], foreign),
        )

        on_cpu = trainer.strategy.root_device.type == "cpu"
        if is_main:
            remove_drafts(run_dir)
            results.write(run_dir)
            start_log()
            memory = memory_line(need, free, on_cpu)
            log.info("%s\n", run_summary(config, dataset, results, run_dir, trainer.world_size, memory))
            if note := config.optimizer.note(config.trainer.max_epochs):
                log.info("%s\n", note)

        with _outcome_recorded(results, config, run_dir, epoch_log, trainer, began), memory_errors_in_one_line():
            with contextlib.ExitStack() as training:
                if environment is not None and environment.local_rank() == 0 and trainer.num_devices > 1:
                    if on_cpu:
                        training.enter_context(share_of_threads(trainer.num_devices))
                    others = (environment, trainer.num_devices, config, run_dir, resume, decision.choice)
                    training.enter_context(further_processes(*others, bool(foreign and callbacks)))
                if on_cpu:
                    training.enter_context(freed_memory_kept())
                if is_main:
                    log_config(trainer.loggers, config, results)
                _fit(trainer, module, data, epoch_log, results, begin.checkpoint)
                if epoch_log.best_epoch is None and not config.trainer.fast_dev_run:  # it ended before a validation
                    next(own for own in trainer.checkpoint_callbacks if isinstance(own, Checkpoints)).save_best(trainer)
                    results.best_epoch = results.epochs
            if is_main:
                _test(trainer, module, dataset, epoch_log, results)
        if is_main:
            log.info("\n%s", run_outcome(results, run_dir))
        return results


def _read_training_images(config: Config) -> KMNISTDataModule:
    data = KMNISTDataModule(config=config)
    data.setup("fit")
    refuse_long_interval(config, len(data.train_dataloader()))
    return data


def _build_module(config: Config, dataset: Dataset) -> CapsNetModule:
    pl.seed_everything(config.seed, verbose=False)  # for what plugins and callbacks draw
    try:
        module = CapsNetModule(
            config=config,
            image_shape=dataset.image_shape,
            num_classes=len(dataset.class_names),
            class_names=dataset.class_names,
            class_counts=dataset.class_counts,
            logs=False,
            begins=False,
        )
    except ValueError as error:
        raise ConfigError(f"model={name_of('model', config.model)}, data={dataset.name}: {error}") from error
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise ConfigError(f"model: a network of this size cannot be built here ({on_one_line(error)[:200]})") from error
    if config.augment.mixup:
        refuse_without_probabilities(config, module, dataset)
    if config.data.class_weights is not None:
        refuse_without_weights(config, module, dataset)
    return module


def _decide(config: Config, module: CapsNetModule, dataset: Dataset, computing: dict[str, Any] | None) -> Decision:
    """How to compute: as is recorded, or else as is fastest here."""
    if computing is not None:
        return recorded_decision(computing, config.trainer)
    if started_by_launcher():  # all processes have to choose the same
        return ruled_decision(config.trainer)
    processes = config.trainer.devices if isinstance(config.trainer.devices, int) else 1
    batch = min(-(-config.data.batch_size // processes), dataset.counts["train"])
    with share_of_threads(processes):
        assert dataset.train_split is not None
        known = (dataset.image_shape, len(dataset.class_names), batch, dataset.train_split.extras)
        return decide(config, module, *known)


def _foreign(earlier: dict[str, Any], objects: Sequence[Any], named: Sequence[str] | None) -> list[str]:
    """What a run uses, and has used before it was resumed, of other people's code."""
    classes = [f"{type(one).__module__}.{type(one).__qualname__}" for one in objects]
    plugin = loaded_plugin()
    now = [*(classes if named is None else named), *([str(plugin.path)] if plugin else [])]
    return list(dict.fromkeys([*earlier.get("foreign", []), *now]))


@contextlib.contextmanager
def _outcome_recorded(
    results: RunRecord, config: Config, run_dir: Path, epoch_log: EpochLog, trainer: pl.Trainer, began: float
) -> Iterator[None]:
    """Write into the record how the run ended, whatever happens."""
    try:
        yield
        results.status = "completed"
    except (KeyboardInterrupt, SystemExit):  # submitit's requeueing raises the latter, as does Lightning
        results.status = "interrupted"
    except OSError as error:
        results.status, results.reason = "failed", f"{error.filename or run_dir}: {error.strerror or error}"
        raise StorageError(results.reason) from error
    except BaseException as error:
        results.status = "diverged" if isinstance(error, DivergedError) else "failed"
        results.reason = str(error) if isinstance(error, CapsNetError) else f"{type(error).__name__}: {error}"
        raise
    finally:
        results.total_seconds = round(time.perf_counter() - began, 3)
        if trainer.is_global_zero:
            with contextlib.nullcontext() if results.status == "completed" else contextlib.suppress(OSError):
                results.write(run_dir)
            with contextlib.suppress(OSError):
                log_outcome(trainer.loggers, config, results, epoch_log.best_row.get("step", 0))
                close_loggers(trainer.loggers, results.status == "completed")


def _fit(
    trainer: pl.Trainer,
    module: CapsNetModule,
    data: KMNISTDataModule,
    epoch_log: EpochLog,
    results: RunRecord,
    checkpoint: Path | None,
) -> None:
    """Train, and put the outcome into the record. Raises KeyboardInterrupt or SystemExit if it was stopped."""
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {on_one_line(error)}") from error
    except ImportError as error:
        raise ConfigError(f"callbacks: {on_one_line(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = on_one_line(error).partition(" Set TORCH")[0]
            raise ConfigError(f"trainer.compile=true: torch.compile fails here ({reason})") from error
        if isinstance(error, RuntimeError) and "returned nan values" in str(error):  # from trainer.detect_anomaly
            raise DivergedError(f"the loss became NaN or infinite ({on_one_line(error)[:200]})") from error
        raise
    finally:
        results.train_seconds = round(epoch_log.seconds, 3)
        results.epochs, results.best_epoch = epoch_log.epochs, epoch_log.best_epoch
        if epoch_log.best_epoch is not None:
            results.metrics = {name: value for name, value in epoch_log.best_row.items() if "/" in name}
        if epoch_log.training_seconds:
            results.train_images_per_second = round(epoch_log.images / epoch_log.training_seconds, 1)


def _test(
    trainer: pl.Trainer, module: CapsNetModule, dataset: Dataset, epoch_log: EpochLog, results: RunRecord
) -> None:
    """Score the best checkpoint on the test images, once, and draw the figures."""
    best = epoch_log.run_dir / BEST_CHECKPOINT
    if best.exists():
        module.load_state_dict(read_checkpoint(best)["state_dict"])
    dataset.read_test_images()
    results.dataset = dataset.record()
    network = module.network.to(trainer.strategy.root_device)
    evaluation = evaluate(network, dataset, module.config, epoch_log.run_dir, best, results.best_epoch)
    report = evaluation.report
    for note in filter(None, (module.task.note(report), dataset.source.note)):
        log.info("\n%s", note)
    results.inference_images_per_second = round(evaluation.images_per_second, 1)
    results.metrics |= {f"test/{name}": value for name, value in report.items() if isinstance(value, float)}
    log_figures(trainer.loggers, evaluation.figures, trainer.global_step)


def _quieten_libraries() -> None:
    """Keep Lightning's advertisements out of the terminal, and warnings about what is intended here."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # trainer.profiler reports here
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # trainer.compile looks for CUDA there
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval")
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log")  # the sums are added up already
    warnings.filterwarnings("ignore", message="Trying to infer the `batch_size`")  # it finds that of the images
    warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")  # a line of ours says so
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # last.ckpt is there
    warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU")  # it is refused
    warnings.filterwarnings("ignore", message=".*`srun` command is available")  # on a login machine, not in a job
    warnings.filterwarnings("ignore", message="Error detected in")  # of trainer.detect_anomaly; the error says it
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # between Lightning and torch
