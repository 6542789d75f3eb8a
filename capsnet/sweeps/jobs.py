"""The jobs of a sweep, read from their folders."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..runs.folder import RECORD_FILE
from ..runs.record import metrics_changed, read_record, recorded_overrides, was_changed
from ..text import printable
from .plan import Plan, differing_keys, values_by_key


@dataclass
class Job:
    """A row of sweep.csv."""

    number: int
    folder: Path
    status: str
    """As in results.json, or "unreadable"."""
    values: dict[str, str] = field(default_factory=dict)
    """Overrides by key."""
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None
    """Of training and validation."""
    total_seconds: float | None = None
    """Test and figures included."""
    best_epoch: int | None = None
    reason: str | None = None
    changed: bool = False
    """Its record or its metrics.csv was changed after the job wrote it."""
    written: float = 0.0
    """When its record was written, in seconds since 1970; tells a record from a later one."""

    def describe(self, swept: list[str]) -> str:
        """Its values of the swept keys, as they were given."""
        return printable(" ".join(f"{key}={self.values[key]}" for key in swept if key in self.values))


def read_jobs(folder: Path) -> list[Job]:
    """The jobs that have begun, by number.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder")
    return [read_job(path) for path in job_folders(folder)]


def job_folders(folder: Path) -> list[Path]:
    """The folders of the jobs that have begun, by number."""
    numbered = (path for path in folder.iterdir() if path.name.isdecimal() and (path / RECORD_FILE).exists())
    return sorted(numbered, key=lambda path: int(path.name))


def read_job(folder: Path) -> Job:
    """A job from its folder; its status is "unreadable" if its record is."""
    number = int(folder.name)
    try:
        record = read_record(folder)
    except CheckpointError as error:
        return Job(number, folder, "unreadable", reason=str(error))
    return Job(
        number,
        folder,
        str(record.get("status")),
        values_by_key(recorded_overrides(record)),
        val_accuracy=_number(record.get("val_accuracy")),
        test_accuracy=_number(record.get("test_accuracy")),
        seconds=_number(record.get("train_seconds")),
        total_seconds=_number(record.get("total_seconds")),
        best_epoch=_whole(record.get("best_epoch")),
        reason=None if record.get("reason") is None else str(record["reason"]),
        changed=was_changed(record) or metrics_changed(folder, record),
        written=record_time(folder),
    )


def record_time(folder: Path) -> float:
    """When a job's record was written, in seconds since 1970."""
    return (folder / RECORD_FILE).stat().st_mtime


def _number(value: Any) -> float | None:
    """A finite number in a record, or None."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def swept_keys(jobs: list[Job], plan: Plan | None) -> list[str]:
    """The keys that a sweep varies: those planned, or else those that differ between the jobs so far."""
    return plan.swept if plan is not None else differing_keys([job.values for job in jobs])
