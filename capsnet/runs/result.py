"""What came out of a run, read from its record and checked."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .folder import RECORD_FILE
from .record import metrics_changed, read_record, recorded_overrides, was_changed


@dataclass
class RunResult:
    """A run as tables and pictures show it. What is not known, or is not a finite number, is None."""

    folder: Path
    status: str
    """As in results.json, or "unreadable"."""
    overrides: list[str] = field(default_factory=list)
    seed: int | None = None
    config: dict[str, Any] | None = None
    """Every setting, nested."""
    images: str | None = None
    """sha256 of the files that were read."""
    parameters: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    test_balanced_accuracy: float | None = None
    seconds: float | None = None
    """Of training and validation."""
    total_seconds: float | None = None
    """Test and figures included."""
    train_images_per_second: float | None = None
    inference_images_per_second: float | None = None
    reason: str | None = None
    changed: bool = False
    """Its record or its metrics.csv was changed after the run wrote it."""
    written: float = 0.0
    """When its record was written, in seconds since 1970; tells a record from a later one."""


def read_result(folder: Path) -> RunResult:
    """What came out of the run in a folder; its status is "unreadable" if its record is."""
    try:
        record = read_record(folder)
    except CheckpointError as error:
        return RunResult(folder, "unreadable", reason=str(error))
    config, dataset = record.get("config"), record.get("dataset")
    return RunResult(
        folder,
        str(record.get("status")),
        recorded_overrides(record),
        seed=_whole(record.get("seed")),
        config=config if isinstance(config, dict) else None,
        images=dataset.get("sha256") if isinstance(dataset, dict) else None,
        parameters=_whole(record.get("parameters")),
        epochs=_whole(record.get("epochs")),
        best_epoch=_whole(record.get("best_epoch")),
        val_accuracy=_number(record.get("val_accuracy")),
        test_accuracy=_number(record.get("test_accuracy")),
        test_balanced_accuracy=_number(record.get("test_balanced_accuracy")),
        seconds=_number(record.get("train_seconds")),
        total_seconds=_number(record.get("total_seconds")),
        train_images_per_second=_number(record.get("train_images_per_second")),
        inference_images_per_second=_number(record.get("inference_images_per_second")),
        reason=None if record.get("reason") is None else str(record["reason"]),
        changed=was_changed(record) or metrics_changed(folder, record),
        written=record_time(folder),
    )


def record_time(folder: Path) -> float:
    """When a run's record was written, in seconds since 1970."""
    return (folder / RECORD_FILE).stat().st_mtime


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
