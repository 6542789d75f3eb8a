"""A sweep's job as Hydra runs it. If it fails, the others go on. Its folder tells what is left to do."""

import contextlib
import logging
import multiprocessing
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ..errors import CapsNetError, CheckpointError, ConfigError, FolderInUseError
from ..runs.folder import RECORD_FILE
from ..runs.measures import monitored
from ..runs.record import new_record, read_record, recorded_overrides, write_record
from ..runs.result import read_result
from ..runs.resume import refuse_changes
from ..runs.saved_config import saved_config
from ..settings.config import Config, monitor_of
from ..settings.foreign import instantiated
from ..settings.parse import config_from_omegaconf
from ..settings.plugins import load_plugin, named_plugin
from ..text import relative
from ..training.launch_environment import started_by_launcher
from .plan import NOT_REPEATED, as_typed, job_label, without_code

log = logging.getLogger(__name__)

RUNNING_TRIALS: dict[int, Any] = {}
"""Optuna's trials whose jobs run in this process, by job number: a pruner is asked about them."""
PRUNED = "ended early by the search,"
"""How the reason of a job begins that a pruner has ended."""


def run_job(composed: DictConfig) -> float | None:
    """Run a sweep's job: start it, continue it, or leave it alone, depending on its folder.

    If something goes wrong, the job's record says so, and the next job starts.

    Returns:
        What the best epoch was chosen by, such as its validation accuracy; None if it was not measured.
    """
    job = HydraConfig.get()
    run_dir, overrides = Path(job.runtime.output_dir), as_typed(job.overrides.task)
    _only_warnings_to_the_terminal()
    if started_by_launcher():
        raise ConfigError("a sweep's job starts its processes itself: leave hydra.launcher.tasks_per_node at 1")
    record = None
    try:
        record = record_of(run_dir, overrides)
        if record is not None and record["status"] in NOT_REPEATED:
            return monitored(read_result(run_dir))
        _load_plugin_of(overrides)
        config = config_from_omegaconf(composed)
        if record is not None and record.get("config"):  # a YAML file may have been edited since
            refuse_changes(saved_config(run_dir, {})[0], config, may_extend=False)
        from ..training.run import train  # loads torch, so only if the config is right
        from .pruning import Pruning

        if multiprocessing.parent_process() is not None:
            _share_machine(config, job.job.num)
        label, made = job_label(run_dir, overrides), instantiated(config)
        pruning = None
        if (trial := RUNNING_TRIALS.get(job.job.num)) is not None:
            pruning = Pruning(trial, monitor_of(config).name)
            made["callbacks"].append(pruning)
        results = train(config, run_dir, overrides, resume=record is not None, label=label, **made)
        if pruning is not None and pruning.pruned:
            results.reason = f"{PRUNED} after epoch {results.epochs}"
            results.write(run_dir)
    except OtherJobError:
        raise
    except FolderInUseError as error:
        log.warning("%s", error)
        return None
    except Exception as error:
        if not isinstance(error, CapsNetError):
            log.exception("job %s failed", job.job.num)
        record_failure(run_dir, overrides, _reason(error))
        return None
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return monitored(results)


class OtherJobError(ConfigError):
    """The folder contains a job of another sweep, or the sweep's YAML file has changed since."""


def record_of(run_dir: Path, overrides: list[str]) -> dict[str, Any] | None:
    """The record that an earlier start of a job has left; None if there was none.

    Raises:
        OtherJobError: the folder has a job with other overrides.
        CheckpointError: the record is damaged.
    """
    if not (run_dir / RECORD_FILE).exists():
        return None
    record = read_record(run_dir)
    wanted = without_code(overrides)
    recorded = without_code(recorded_overrides(record))[: len(wanted)]  # a resumption may have added some
    if recorded != wanted:
        raise OtherJobError(
            f"{run_dir}: has a job with other settings ({' '.join(recorded_overrides(record))});"
            " choose another hydra.sweep.dir"
        )
    return record


def record_failure(run_dir: Path, overrides: list[str], reason: str) -> None:
    """Write into a job's record that it failed. One that was interrupted stays so: it may be continued another time."""
    record = None
    with contextlib.suppress(CheckpointError):  # damaged
        record = read_record(run_dir) if (run_dir / RECORD_FILE).exists() else None
    if record is None:
        run_dir.mkdir(parents=True, exist_ok=True)
        new_record("failed", overrides, reason=reason).write(run_dir)
    elif record["status"] == "interrupted":
        log.warning("%s: interrupted, and did not continue: %s", relative(run_dir), reason)
    elif record["status"] not in NOT_REPEATED:
        write_record(run_dir, record | {"status": "failed", "reason": reason})


def record_interruption(run_dir: Path) -> None:
    """Write into the record of a job that was running that it was interrupted."""
    if (run_dir / RECORD_FILE).exists() and (record := read_record(run_dir))["status"] == "running":
        write_record(run_dir, record | {"status": "interrupted"})


def _load_plugin_of(overrides: list[str]) -> None:
    """A job may run in another process than the command, and then has to read the command's plugin itself."""
    for override in overrides:
        if (plugin := named_plugin(override)) is not None:
            load_plugin(plugin)


def _share_machine(config: Config, number: int) -> None:
    """Jobs that run in parallel share the terminal and the GPUs."""
    from ..training.processes import one_gpu_of_several

    config.trainer.enable_progress_bar = False
    if config.trainer.devices == 1:
        one_gpu_of_several(number)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CapsNetError) else f"{type(error).__name__}: {error}"


def _only_warnings_to_the_terminal() -> None:
    """In the terminal, the sweep reports how its jobs end. Everything else is in each job's train.log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)
