"""A run's record, results.json."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import read_json, write_json
from ..settings.plugins import loaded_plugin
from .folder import RECORD_FILE, SWEEP_FILE
from .provenance import git_state, versions

FINISHED = ("completed", "diverged", "failed")
STATUSES = ("running", "interrupted", *FINISHED)


@dataclass
class RunRecord:
    """The content of results.json. What is not known yet, or does not apply, is None."""

    status: str
    """running, completed, interrupted, diverged or failed."""
    overrides: list[str]
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    init: dict[str, str] | None = None
    """path and sha256 of the checkpoint whose weights it began with."""
    seed: int = 0
    dataset: dict[str, Any] = field(default_factory=dict)
    """See `Dataset.record`."""
    parameters: int = 0
    device: str = ""
    precision: str = ""
    computing: dict[str, Any] = field(default_factory=dict)
    """precision, fourier and layout, how they were chosen, and what each candidate took; see `training.choices`."""
    versions: dict[str, str] = field(default_factory=versions)
    git_commit: str | None = None
    git_dirty: bool | None = None
    """True if tracked files of the code differed from that commit."""
    config: dict[str, Any] | None = None
    """Every setting, nested."""
    plugin: dict[str, str] | None = None
    """path and sha256 of the plugin that was used."""
    foreign: list[str] = field(default_factory=list)
    """Other people's code that was used: the callbacks' and loggers' classes, and the plugin."""
    reason: str | None = None
    """Why it failed or diverged."""
    epochs: int = 0
    """Epochs trained to their end."""
    best_epoch: int | None = None
    """Counted from 1."""
    monitor: str = ""
    """By what the best epoch is chosen, such as val/accuracy."""
    lower_is_better: bool | None = None
    """Of what is monitored. None in records from before this was written."""
    metrics: dict[str, float] = field(default_factory=dict)
    """By name, such as val/accuracy: those of the best epoch, and of the test of its checkpoint. Shares are in [0, 1].
    What was measured in validation and test stands beside it, too: as val_accuracy, test_accuracy, ..."""
    train_seconds: float = 0.0
    """Wall time of training and validation, without start-up and test."""
    total_seconds: float = 0.0
    """Wall time of everything that the last process did for this run, test and figures included."""
    train_images_per_second: float | None = None
    """In the training part of the epochs, including data and logging."""
    inference_images_per_second: float | None = None
    """In the test, from uint8 images to scores, in float32."""

    def write(self, run_dir: Path) -> None:
        beside = {
            name.replace("/", "_"): value for name, value in self.metrics.items() if name.startswith(("val/", "test/"))
        }
        write_record(run_dir, asdict(self) | beside)


def new_record(status: str, overrides: list[str], **known: Any) -> RunRecord:
    """A record of the running code."""
    return RunRecord(status, overrides, **git_state(), plugin=plugin_record(), **known)


def plugin_record() -> dict[str, str] | None:
    """path and sha256 of the plugin that is loaded, if one is."""
    plugin = loaded_plugin()
    return {"path": str(plugin.path), "sha256": plugin.sha256} if plugin else None


def write_record(run_dir: Path, record: dict[str, Any]) -> None:
    """Write results.json."""
    write_json(run_dir / RECORD_FILE, record)


def read_record(run_dir: Path) -> dict[str, Any]:
    """The content of a run's results.json. Raises CheckpointError if it is missing or damaged."""
    path = run_dir / RECORD_FILE
    if not path.exists():
        raise CheckpointError(f"{run_dir}: has no run (no {RECORD_FILE})")
    try:
        record = read_json(path)
        if record["status"] not in STATUSES:
            raise ValueError(f"unknown status {record['status']}")
        return record
    except Exception as error:
        raise CheckpointError(f"{path}: not a run's record ({type(error).__name__}: {error})") from error


def completed_record(run_dir: Path) -> dict[str, Any]:
    """The same of a run that is to be trained again, once it is completed."""
    if (run_dir / SWEEP_FILE).exists():
        raise CheckpointError(f"{run_dir}: is a sweep; give the folder of one of its jobs")
    record = read_record(run_dir)
    if record["status"] != "completed":
        raise CheckpointError(f"{run_dir}: this run is {record['status']}; only a completed run can be trained again")
    return record


def recorded_metrics(record: dict[str, Any]) -> dict[str, float]:
    """`RunRecord.metrics` of a record, also of an earlier version's, which had single ones only."""
    if "metrics" in record:
        return record["metrics"]
    single = ("val_accuracy", "test_accuracy", "test_balanced_accuracy", "test_loss")
    return {name.replace("_", "/", 1): record[name] for name in single if record.get(name) is not None}


def recorded_computing(record: dict[str, Any]) -> dict[str, Any] | None:
    """How a run computed, as `RunRecord.computing`; None if its record does not say."""
    if record.get("computing"):
        return record["computing"]
    if not record.get("precision"):
        return None
    # Earlier versions recorded only this, and built every network with the channels last.
    fourier = "on" if record.get("fourier") else "off"
    return {"precision": record["precision"], "fourier": fourier, "layout": "channels_last"}


def recorded_overrides(record: dict[str, Any]) -> list[str]:
    """The overrides in a run's record."""
    return list(record.get("overrides", []))
