"""A sweep's job as Hydra runs it: it cannot end the others, and knows from its folder what is still to do."""

import contextlib
import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from .compose import config_from_omegaconf
from .errors import CapsNetError, CheckpointError, ConfigError
from .results import RESULTS_FILE, RunResults, git_commit, read_record, versions
from .sweep import NOT_REPEATED, progress

log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> float | None:
    """Run a sweep's job: train it, go on with it, or leave it alone, as its folder tells.

    Whatever goes wrong becomes the job's record, and the next job goes on.

    Returns:
        Best validation accuracy; None where there is none.
    """
    job = HydraConfig.get()
    run_dir, overrides = Path(job.runtime.output_dir), list(job.overrides.task)
    _only_the_sweeps_lines()
    record = None
    try:
        if (run_dir / RESULTS_FILE).exists():
            record = read_record(run_dir)
            _same_job(run_dir, record, overrides)
            if record["status"] in NOT_REPEATED:
                return record.get("val_accuracy")
        config = config_from_omegaconf(composed)
        from .training import train  # brings torch: only once the config is known to be right

        results = train(config, run_dir, overrides, resume=record is not None)
    except ForeignJobError:
        raise
    except Exception as error:
        if not isinstance(error, CapsNetError):
            log.exception("job %s failed", job.job.num)
        _record_failure(run_dir, overrides, error)
        accuracy = None
    else:
        if results.status == "interrupted":
            raise KeyboardInterrupt
        accuracy = results.val_accuracy
    log.info("%s", progress(Path(job.sweep.dir), int(run_dir.name)))
    return accuracy


class ForeignJobError(ConfigError):
    """The folder holds a job of another sweep."""


def _same_job(run_dir: Path, record: dict[str, Any], overrides: list[str]) -> None:
    recorded = record.get("overrides")
    if not isinstance(recorded, list) or recorded[: len(overrides)] != overrides:  # a resumption may have added some
        raise ForeignJobError(
            f"{run_dir}: holds a job with other settings ({' '.join(map(str, record.get('overrides') or []))});"
            " choose another hydra.sweep.dir"
        )


def _record_failure(run_dir: Path, overrides: list[str], error: Exception) -> None:
    """Leave a record where the training has not left its own."""
    with contextlib.suppress(CheckpointError):
        if read_record(run_dir)["status"] in ("failed", "diverged"):
            return
    reason = str(error) if isinstance(error, CapsNetError) else f"{type(error).__name__}: {error}"
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
        git_commit=git_commit(),
    ).write(run_dir)


def _only_the_sweeps_lines() -> None:
    """Of what the jobs say, the terminal shows what goes wrong and a line per job; train.log has it all."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == __name__)
