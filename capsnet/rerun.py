"""Repeating a run by its own config, in a new folder, and saying what was the same and what was not."""

import dataclasses
import itertools
import logging
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from .compose import config_from_dict
from .errors import CheckpointError, ConfigError
from .results import (
    METRICS_FILE,
    RunResults,
    git_state,
    new_folder,
    read_metrics,
    read_record,
    recorded_overrides,
    refuse_links,
    removed_if_unused,
    versions,
)
from .resume import SWEEP_FILE, WHERE, config_of, log_to
from .terminal import aligned, counted, relative

log = logging.getLogger(__name__)

OUTCOMES = ("val_accuracy", "test_accuracy", "test_loss")
CIRCUMSTANCES = ("git_commit", "git_dirty", "device", "precision", "config_sha256")


def rerun(run_dir: Path, overrides: dict[str, str | None]) -> tuple[RunResults, bool]:
    """Train again what a run has trained, and compare.

    Args:
        run_dir: the earlier run's folder.
        overrides: settings by dotted key that say where to train, such as `data.root`.

    Returns:
        The new run's record, and whether all its metrics are those of the earlier run.

    Raises:
        CheckpointError: there is no run, or its record or checkpoint is damaged.
        ConfigError: an override is not valid, or would make it another run.
    """
    refuse_links(run_dir)
    if (run_dir / SWEEP_FILE).exists():
        raise CheckpointError(f"{run_dir}: is a sweep; name the folder of one of its jobs")
    record = read_record(run_dir)
    if record["status"] != "completed":
        raise CheckpointError(f"{run_dir}: its run is {record['status']}, and can only be compared once it is complete")
    for key in overrides:
        if key not in WHERE:
            raise ConfigError(f"{key}: cannot change in a repetition; start another run")
    config = config_from_dict(dataclasses.asdict(config_of(run_dir)), overrides, origin=str(run_dir))
    asked = recorded_overrides(record) + [f"{key}={value}" for key, value in overrides.items()]
    repeated = new_folder(Path("outputs", time.strftime("%Y-%m-%d"), time.strftime("%H-%M-%S")))
    (repeated / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(dataclasses.asdict(config)), repeated / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create(asked), repeated / ".hydra" / "overrides.yaml")
    log_to(repeated)
    changed = _circumstances(record, versions(), git_state())
    log.info("Repeats %s%s\n", relative(run_dir), _listed(", now with", changed))
    with removed_if_unused(repeated):
        from .training import train  # brings torch: only once all is known to be right

        results = train(config, repeated, asked)
    if results.status != "completed":
        log.info("\nNothing to compare: the repetition is %s", results.status)
        return results, False
    after = dataclasses.asdict(results)
    differing = differences(run_dir, record, repeated, after)
    if differing:
        found = _circumstances(record, results.versions, after) | _other_files(record, after)
        log.info("\nThe metrics differ%s:\n%s", _listed(" (as do the circumstances:", found, ")"), aligned(differing))
    else:
        epochs = counted(results.epochs, "epoch")
        log.info("\nIdentical to %s: every metric of %s, and the test's", relative(run_dir), epochs)
    return results, not differing


def _circumstances(record: dict[str, Any], packages: dict[str, str], after: dict[str, Any]) -> dict[str, str]:
    """What else is not as it was, by name; what either side does not know is passed over."""
    pairs = {name: (record.get(name), after.get(name)) for name in CIRCUMSTANCES}
    before = record.get("versions")
    if isinstance(before, dict):
        pairs |= {name: (before.get(name), packages.get(name)) for name in {*before, *packages}}
    return {
        name: f"{now} (then {then})"
        for name, (then, now) in sorted(pairs.items())
        if then is not None and now is not None and then != now
    }


def _other_files(record: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    dataset = record.get("dataset")
    files = dataset.get("files") if isinstance(dataset, dict) else None
    if not isinstance(files, dict):
        return {}
    now = after["dataset"]["files"]
    return {name: "another file" for name, digest in files.items() if now.get(name, digest) != digest}


def _listed(opening: str, found: dict[str, str], closing: str = "") -> str:
    return f"{opening} {', '.join(f'{name} {what}' for name, what in found.items())}{closing}" if found else ""


def differences(run_dir: Path, record: dict[str, Any], repeated: Path, after: dict[str, Any]) -> dict[str, str]:
    """The metrics that are not the same to the last digit: each with where, and both values."""
    before, now = read_metrics(run_dir / METRICS_FILE), read_metrics(repeated / METRICS_FILE)
    if not before:
        raise CheckpointError(f"{run_dir}: has no {METRICS_FILE} to compare with")
    found = {}
    for name in dict.fromkeys([*before, *now]):
        pairs = itertools.zip_longest(before.get(name, []), now.get(name, []))
        for epoch, (then, value) in enumerate(pairs, 1):
            if then != value and not (then != then and value != value):  # NaN stands for what was not measured
                found[name] = f"{value!r} in epoch {epoch} (then {then!r})"
                break
    for name in OUTCOMES:
        if record.get(name) != after[name]:
            found[name] = f"{after[name]!r} (then {record.get(name)!r})"
    return found
