"""A sweep's job as Hydra runs it: it cannot end the others, and knows from its folder what is still to do."""

import contextlib
import logging
import multiprocessing
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from .compose import config_from_omegaconf
from .config import Config
from .errors import CapsNetError, CheckpointError, ConfigError
from .results import (
    RESULTS_FILE,
    BusyError,
    RunResults,
    git_state,
    read_record,
    recorded_overrides,
    started_with_others,
    versions,
    write_json,
)
from .sweep import FINISHED, NOT_REPEATED, swept_values

log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> float | None:
    """Run a sweep's job: train it, go on with it, or leave it alone, as its folder tells.

    Whatever goes wrong becomes the job's record, and the next job goes on.

    Returns:
        Best validation accuracy; None where there is none.
    """
    job = HydraConfig.get()
    run_dir, overrides = Path(job.runtime.output_dir), list(job.overrides.task)
    _only_what_goes_wrong_to_the_terminal()
    if started_with_others():
        raise ConfigError("a sweep's job starts its processes itself: leave hydra.launcher.tasks_per_node at 1")
    record, began = None, time.time()
    try:
        record = record_of(run_dir, overrides)
        if record is not None and record["status"] in NOT_REPEATED:
            return record.get("val_accuracy")
        config = config_from_omegaconf(composed)
        from .training import train  # brings torch: only once the config is known to be right

        if multiprocessing.parent_process() is not None:
            _beside_other_jobs(config, job.job.num)
        swept = swept_values(run_dir, overrides)
        results = train(config, run_dir, overrides, resume=record is not None, swept=swept)
    except ForeignJobError:
        raise
    except BusyError as error:
        log.warning("%s", error)
        return None
    except Exception as error:
        if not isinstance(error, CapsNetError):
            log.exception("job %s failed", job.job.num)
        record_failure(run_dir, overrides, _reason(error), since=began)
        return None
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return results.val_accuracy


class ForeignJobError(ConfigError):
    """The folder holds a job of another sweep."""


def record_of(run_dir: Path, overrides: list[str]) -> dict[str, Any] | None:
    """What an earlier start of a job has left; None where there was none.

    Raises:
        ForeignJobError: the folder holds a job with other overrides.
        CheckpointError: the record is damaged.
    """
    if not (run_dir / RESULTS_FILE).exists():
        return None
    record = read_record(run_dir)
    recorded = record.get("overrides")
    if not isinstance(recorded, list) or recorded[: len(overrides)] != overrides:  # a resumption may have added some
        raise ForeignJobError(
            f"{run_dir}: holds a job with other settings ({' '.join(recorded_overrides(record))});"
            " choose another hydra.sweep.dir"
        )
    return record


def record_failure(run_dir: Path, overrides: list[str], reason: str, since: float = 0.0) -> None:
    """Leave a record of a job that came to nothing, where it has not left its own since it began."""
    with contextlib.suppress(CheckpointError):
        record = read_record(run_dir)
        own = (run_dir / RESULTS_FILE).stat().st_mtime >= since - 1  # file systems' clocks are coarse
        if not own or record["status"] not in (*FINISHED, "interrupted"):
            write_json(run_dir / RESULTS_FILE, record | {"status": "failed", "reason": reason})
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    RunResults(
        status="failed",
        reason=reason,
        dataset={},
        overrides=overrides,
        seed=0,
        parameters=0,
        device="",
        precision="",
        versions=versions(),
        **git_state(),
    ).write(run_dir)


def _beside_other_jobs(config: Config, number: int) -> None:
    """They share the terminal, and the GPUs."""
    from .processes import one_gpu_of_several

    config.trainer.enable_progress_bar = False
    if config.trainer.devices == 1:
        one_gpu_of_several(number)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, CapsNetError) else f"{type(error).__name__}: {error}"


def _only_what_goes_wrong_to_the_terminal() -> None:
    """There the sweep says how its jobs end; train.log has it all."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(logging.WARNING)
