"""A run's record, results.json."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import file_digest, read_json, without_nan, write_json
from .folder import BEST_CHECKPOINT, METRICS_FILE, RECORD_FILE
from .provenance import git_state, versions

log = logging.getLogger(__name__)

FINISHED = ("completed", "diverged", "failed")
STATUSES = ("running", "interrupted", *FINISHED)
DIGEST = "record_sha256"
"""The key of the digest over the rest of the record, which tells if it was changed by hand."""


@dataclass
class RunRecord:
    """The content of results.json. What is not known yet, or does not apply, is None."""

    status: str
    """running, completed, interrupted, diverged or failed."""
    overrides: list[str]
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
    config_sha256: str | None = None
    """See `settings.config.config_digest`."""
    config: dict[str, Any] | None = None
    """Every setting, nested."""
    plugin: dict[str, str] | None = None
    """path and sha256 of the plugin that was used."""
    reason: str | None = None
    """Why it failed or diverged."""
    epochs: int = 0
    """Epochs trained to their end."""
    best_epoch: int | None = None
    """Counted from 1."""
    val_accuracy: float | None = None
    """Best over the epochs, as a fraction."""
    test_accuracy: float | None = None
    """Of the best checkpoint."""
    test_balanced_accuracy: float | None = None
    """Mean over the classes."""
    test_loss: float | None = None
    train_seconds: float = 0.0
    """Wall time of training and validation, without start-up and test."""
    total_seconds: float = 0.0
    """Wall time of everything that the last process did for this run, test and figures included."""
    train_images_per_second: float | None = None
    """In the training part of the epochs, including data and logging."""
    inference_images_per_second: float | None = None
    """In the test, from uint8 images to scores, in float32."""
    metrics_sha256: str | None = None
    """Of metrics.csv when the run ended."""
    best_sha256: str | None = None
    """Of best.ckpt when the run ended."""

    def write(self, run_dir: Path) -> None:
        write_record(run_dir, asdict(self))


def new_record(status: str, overrides: list[str], **known: Any) -> RunRecord:
    """A record of the running code."""
    return RunRecord(status, overrides, **git_state(), **known)


def write_record(run_dir: Path, record: dict[str, Any]) -> None:
    """Write results.json, with a digest of its content."""
    content = without_nan({key: value for key, value in record.items() if key != DIGEST})
    write_json(run_dir / RECORD_FILE, content | {DIGEST: _digest(content)})


def was_changed(record: dict[str, Any]) -> bool:
    """Was a record changed after the runner wrote it?"""
    return record.get(DIGEST) != _digest({key: value for key, value in record.items() if key != DIGEST})


def metrics_changed(run_dir: Path, record: dict[str, Any]) -> bool:
    """Is metrics.csv another one than when the run ended? False if that is not known."""
    recorded = record.get("metrics_sha256")
    return recorded is not None and recorded != file_digest(run_dir / METRICS_FILE)


def best_changed(run_dir: Path, record: dict[str, Any]) -> bool:
    """Is best.ckpt another one than when the run ended? False if that is not known."""
    recorded = record.get("best_sha256")
    return recorded is not None and recorded != file_digest(run_dir / BEST_CHECKPOINT)


def warn_if_changed(run_dir: Path, record: dict[str, Any]) -> None:
    """Say so if a run's record was changed after the runner wrote it."""
    if was_changed(record):
        log.warning("%s: was changed after the run wrote it", run_dir / RECORD_FILE)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode(errors="surrogatepass")).hexdigest()


def read_record(run_dir: Path) -> dict[str, Any]:
    """The content of a run's results.json. Raises CheckpointError if it is missing or damaged."""
    path = run_dir / RECORD_FILE
    try:
        record = read_json(path)
    except FileNotFoundError:
        raise CheckpointError(f"{run_dir}: has no run (no {RECORD_FILE})") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a run's record ({error})") from error
    if not isinstance(record, dict) or record.get("status") not in STATUSES:
        raise CheckpointError(f"{path}: not a run's record (it has no known status)")
    return record


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
    """The overrides in a run's record; none if it has no list of them."""
    overrides = record.get("overrides")
    return list(map(str, overrides)) if isinstance(overrides, list) else []
