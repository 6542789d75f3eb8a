"""Repeating a run with its own config in a new folder, and comparing the two."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import file_digest
from ..settings.config import Config
from ..text import aligned, counted, relative
from .folder import METRICS_FILE, checkpoint_path
from .metrics import read_metrics
from .provenance import git_state, versions
from .record import RunRecord, completed_record, recorded_metrics, recorded_overrides
from .resume import refuse_changes, refuse_other_optimizer
from .saved_config import saved_config
from .shipped import find_run

CIRCUMSTANCES = ("git_commit", "git_dirty", "device", "precision")


@dataclasses.dataclass
class Repetition:
    """What to train to repeat a run, and what to compare it with."""

    run_dir: Path
    """Of the earlier run."""
    record: dict[str, Any]
    """Of the earlier run."""
    config: Config
    overrides: list[str]

    def announcement(self) -> str:
        """Which run is repeated, and what is already known to be different."""
        changed = _changed_circumstances(self.record, versions(), git_state())
        changed |= _changed_weights(self.record, self.config)
        return f"Repeating {relative(self.run_dir)}" + (f", now with {_listed(changed)}" if changed else "")

    def verdict(self, repeated: Path, results: RunRecord) -> tuple[str, bool]:
        """What to tell the person, and if every metric is the same to the last digit.

        Args:
            repeated: folder of the repetition.
            results: its record.
        """
        if results.status != "completed":
            return f"Nothing to compare: the repetition is {results.status}", False
        after = dataclasses.asdict(results)
        differing = _differences(self.run_dir, self.record, repeated, after)
        if not differing:
            epochs = counted(results.epochs, "epoch")
            return f"Identical to {relative(self.run_dir)}: every metric of {epochs}, and of the test", True
        changed = _changed_circumstances(self.record, results.versions, after) | _changed_files(self.record, after)
        also = f" (also different: {_listed(changed)})" if changed else ""
        return f"The metrics differ{also}:\n{aligned(differing)}", False


def repetition(run_dir: Path, overrides: dict[str, str | None]) -> Repetition:
    """Prepare to train a run again.

    Args:
        run_dir: the earlier run's folder.
        overrides: settings by dotted key that do not change what is trained, such as `data.root`.

    Raises:
        CheckpointError: there is no completed run, or its record or checkpoint is damaged.
        ConfigError: an override is not valid, or would make it another run.
    """
    record = completed_record(run_dir)
    if not read_metrics(run_dir / METRICS_FILE):
        raise CheckpointError(f"{run_dir}: has no {METRICS_FILE} to compare with")
    before, config = saved_config(run_dir, overrides)
    refuse_changes(before, config, may_extend=False)
    refuse_other_optimizer(record, config)
    if config.init is not None and Path(begun := record["init"]["path"]).exists():
        config.init = begun  # the setting may be relative to another folder
    added = [f"{key}={value}" for key, value in overrides.items()]
    return Repetition(run_dir, record, config, recorded_overrides(record) + added)


def _changed_circumstances(record: dict[str, Any], packages: dict[str, str], after: dict[str, Any]) -> dict[str, str]:
    """What else is different now, by name. What either record lacks is skipped."""
    pairs = {name: (record.get(name), after.get(name)) for name in CIRCUMSTANCES}
    before = record["versions"]
    pairs |= {name: (before.get(name), packages.get(name)) for name in {*before, *packages}}
    return {
        name: f"{now} (was {then})"
        for name, (then, now) in sorted(pairs.items())
        if then is not None and now is not None and then != now
    }


def _changed_weights(record: dict[str, Any], config: Config) -> dict[str, str]:
    """Whether the checkpoint with which the run began is another one now. Raises CheckpointError if it is gone."""
    if config.init is None:
        return {}
    path = checkpoint_path(find_run(config.init))
    return {} if file_digest(path) == record["init"]["sha256"] else {"init": f"other weights in {relative(path)}"}


def _changed_files(record: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    from ..data.dataset import changed_files  # loads torch

    return dict.fromkeys(changed_files(record["dataset"], after["dataset"]), "another file")


def _listed(changes: dict[str, str]) -> str:
    return ", ".join(f"{name} {what}" for name, what in changes.items())


def _differences(run_dir: Path, record: dict[str, Any], repeated: Path, after: dict[str, Any]) -> dict[str, str]:
    """The metrics of both that are not the same to the last digit: where, and both values."""
    before, now = read_metrics(run_dir / METRICS_FILE), read_metrics(repeated / METRICS_FILE)
    differences = {}
    for name in before.keys() & now.keys():  # `metrics` may have been chosen anew
        for epoch, (then, value) in enumerate(itertools.zip_longest(before[name], now[name]), 1):
            if then != value and not (then != then and value != value):  # NaN: not measured
                differences[name] = f"{value!r} in epoch {epoch} (was {then!r})"
                break
    outcomes = recorded_metrics(after)
    for name, then in recorded_metrics(record).items():
        if name in outcomes and outcomes[name] != then:
            differences.setdefault(name, f"{outcomes[name]!r} (was {then!r})")
    return dict(sorted(differences.items()))
