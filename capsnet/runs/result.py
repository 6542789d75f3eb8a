"""What came out of a run, read from its record."""

import json
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .folder import RECORD_FILE
from .record import read_record, recorded_metrics, recorded_overrides


@dataclass
class RunResult:
    """A run as tables and pictures show it. What is not known is None."""

    folder: Path
    status: str
    """As in results.json, or "unreadable"."""
    overrides: list[str] = field(default_factory=list)
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    seed: int | None = None
    config: dict[str, Any] | None = None
    """Every setting, nested."""
    plugin: dict[str, str] | None = None
    precision: str | None = None
    images: str | None = None
    """sha256 of the files that were read."""
    parameters: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    """See `RunRecord.metrics`."""
    monitor: str = "val/accuracy"
    lower_is_better: bool | None = None
    seconds: float | None = None
    """Of training and validation."""
    total_seconds: float | None = None
    """Test and figures included."""
    train_images_per_second: float | None = None
    inference_images_per_second: float | None = None
    reason: str | None = None
    written: float = 0.0
    """When its record was written, in seconds since 1970; tells a record from a later one."""

    @property
    def other_code(self) -> dict[str, str]:
        """What else it was trained with than this project's code, by setting: that may differ where settings do not."""
        config = self.config or {}
        callbacks = config.get("callbacks") or {}
        numbers = {name: _without_words(arguments) for name, arguments in callbacks.items()}  # words name folders
        written = json.dumps(numbers, sort_keys=True)
        code = {
            "plugin": ((self.plugin or {}).get("sha256") or "")[:8],
            "optimizer._target_": (config.get("optimizer") or {}).get("_target_"),
            "callbacks": callbacks and f"{','.join(sorted(callbacks))} {sha256(written.encode()).hexdigest()[:4]}",
        }
        return {setting: named for setting, named in code.items() if named}


def _without_words(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key == "_target_" or not isinstance(value, str)}


def read_result(folder: Path) -> RunResult:
    """What came out of the run in a folder; its status is "unreadable" if its record is."""
    try:
        record = read_record(folder)
    except CheckpointError as error:
        return RunResult(folder, "unreadable", reason=str(error))
    own = {entry.name for entry in fields(RunResult)} - {"folder", "status", "overrides", "metrics"}
    return RunResult(
        folder,
        record["status"],
        recorded_overrides(record),
        **{name: value for name, value in record.items() if name in own},
        metrics=recorded_metrics(record),
        images=record.get("dataset", {}).get("sha256"),
        seconds=record.get("train_seconds"),
        written=record_time(folder),
    )


def record_time(folder: Path) -> float:
    """When a run's record was written, in seconds since 1970."""
    return (folder / RECORD_FILE).stat().st_mtime
