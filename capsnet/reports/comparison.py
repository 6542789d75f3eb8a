"""Several networks side by side: what tells them apart, and how well each does, averaged over seeds."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, ConfigError
from ..files import write_csv
from ..runs.folder import METRICS_FILE, ROBUSTNESS_FILE
from ..runs.measures import heading_of, measured_names, part_of, shown_names
from ..runs.metrics import read_metrics
from ..runs.repetitions import SPEEDS, Repetitions, grouped
from ..runs.result import RunResult
from ..settings.config import OPTIONS, Monitor, leaves, saved_leaves, untrained_keys
from ..settings.parse import config_from_dict
from ..text import columns, printable, shown, whole
from .distortions import DISTORTIONS
from .robustness import by_distortion, read_robustness

log = logging.getLogger(__name__)

IMAGES = "data.images"
"""Stands for the images themselves among the settings: data.root names other images on another machine."""
TABLE_FILE, PICTURE_FILE = "comparison.csv", "comparison.png"
_UNCHANGED = {distortion.name: distortion.unchanged for distortion in DISTORTIONS}


@dataclass
class ComparisonRow:
    """Runs that differ only in their seed, with what tells them from the others, and their curves."""

    label: str
    runs: Repetitions[RunResult]
    training: list[dict[str, list[float]]]
    """Each run's metrics.csv by column."""
    robustness: list[dict[str, dict[float, float]]]
    """Accuracy by distortion and level, of each run for which it was measured."""

    def mean_under(self, distortion: str) -> float | None:
        """Mean accuracy over the seeds and a distortion's levels, without the one that changes nothing."""
        runs = [run[distortion] for run in self.robustness if distortion in run]
        accuracies = [accuracy for run in runs for level, accuracy in run.items() if level != _UNCHANGED[distortion]]
        return float(np.mean(accuracies)) if accuracies else None


def group_and_label(runs: Sequence[RunResult], monitor: Monitor) -> tuple[list[ComparisonRow], list[str]]:
    """Group runs that differ only in their seed, and label each group by what tells it from the others.

    Args:
        runs: completed ones.
        monitor: by what they are compared.

    Returns:
        The groups, the one with the best mean first; and the further settings in which they differ.

    Raises:
        CheckpointError: a record has no settings, or a table is damaged.
    """
    settings = {run.folder: _trained_settings(run) for run in runs}
    groups = _grouped(runs, settings, monitor)
    for group in groups:
        if len(precisions := {str(run.precision) for run in group.runs}) > 1:
            computed = " and ".join(sorted(precisions))
            log.warning("%s and the other seeds: computed in %s", group.runs[0].folder, computed)
    if len({run.images for run in runs}) > 1:
        log.warning("these runs were tested on different images, so their metrics cannot be compared")
    if len({run.monitor for run in runs}) > 1:
        log.warning("these runs chose their best epochs by different metrics; they are sorted by %s", monitor.name)
    differing, labels = _distinguished([settings[group.runs[0].folder] for group in groups])
    metric = judged_by(groups[0].runs[0])
    compared = [
        ComparisonRow(
            label,
            group,
            [metrics for run in group.runs if (metrics := read_metrics(run.folder / METRICS_FILE))],
            [curves for run in group.runs if (curves := _robustness_of(run, metric))],
        )
        for group, label in zip(groups, labels, strict=True)
    ]
    return compared, differing


def _trained_settings(run: RunResult) -> dict[str, Any]:
    """A run's settings by dotted key, without its seed and what has no influence on training.

    A setting that did not exist yet when the record was written has its default.
    """
    if run.config is None:
        raise CheckpointError(f"{run.folder}: its record has no settings to compare")
    try:
        flat = {key: value for key, value, _ in leaves(config_from_dict(run.config, origin=str(run.folder)))}
    except ConfigError:  # an option comes from a plugin, or a key no longer exists
        flat = saved_leaves(run.config)
    ignored = untrained_keys() | {"seed"}
    settings = {key: value for key, value in flat.items() if key not in ignored} | run.other_code
    return settings | ({IMAGES: run.images[:8]} if run.images else {})


def _grouped(
    runs: Sequence[RunResult], settings: dict[Path, dict[str, Any]], monitor: Monitor
) -> list[Repetitions[RunResult]]:
    """Runs that differ only in their seed, each seed once: the same training twice says nothing about chance.

    A repetition with another result was trained with other code, or elsewhere. It belongs to a group of its own.
    """
    groups: dict[Path, tuple[Any, ...]] = {}
    earlier: dict[tuple[Any, ...], list[RunResult]] = {}
    for run in runs:
        key = tuple(sorted((key, str(value)) for key, value in settings[run.folder].items()))
        same = earlier.setdefault((key, run.seed), [])
        if equal := next((one for one in same if one.metrics == run.metrics), None):
            log.warning("%s: same settings, seed and result as %s, and left out", run.folder, equal.folder)
            continue
        if same:
            log.warning("%s: same settings and seed as %s, with another result: apart", run.folder, same[0].folder)
        groups[run.folder] = (key, len(same))
        same.append(run)
    return grouped([run for run in runs if run.folder in groups], lambda run: groups[run.folder], monitor)


def judged_by(run: RunResult) -> str:
    """What robustness.csv has of a run: what its task is judged by."""
    task = OPTIONS["task"].get(((run.config or {}).get("task") or {}).get("name"))
    return part_of(run.monitor) if task is None else task.monitor


def _robustness_of(run: RunResult, metric: str) -> dict[str, dict[float, float]]:
    """A metric on distorted images; nothing of a run whose task is judged by another one."""
    points = read_robustness(run.folder / ROBUSTNESS_FILE)
    if points and judged_by(run) != metric:
        log.warning("%s: is not about %s, and is left out", run.folder / ROBUSTNESS_FILE, metric)
        return {}
    if points and points[0].epoch != run.best_epoch:
        log.warning("%s: is not from the best epoch, and is left out", run.folder / ROBUSTNESS_FILE)
        return {}
    return by_distortion(points)


def _distinguished(settings: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What tells groups apart, as labels; and the other settings that all have, with different values.

    The names of data, network and routing come first. Of the rest, as few are added as needed.
    """
    keys = dict.fromkeys(key for one in settings for key in one)
    differing = [key for key in keys if len({str(one.get(key)) for one in settings}) > 1]
    chosen = [key for key in ("data.name", "model.name", "routing.name") if key in differing]
    for key in sorted(differing, key=lambda key: (not key.endswith(".name"), key == IMAGES)):
        if _distinct(settings, [*chosen, key]) > _distinct(settings, chosen):
            chosen.append(key)
    chosen = chosen or ["model.name"]
    labels = [_label(one, chosen) or _label(one, ["model.name"]) for one in settings]
    also = [key for key in differing if key not in chosen and all(key in one for one in settings)]
    return also, _numbered([printable(label) for label in labels])


def _label(settings: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(_worded(key, settings[key]) for key in keys if settings.get(key, "none") not in ("none", ""))


def _numbered(labels: list[str]) -> list[str]:
    """Labels that repeat an earlier one get a number."""
    before = [labels[:index].count(label) for index, label in enumerate(labels)]
    return [f"{label} ({count + 1})" if count else label for label, count in zip(labels, before, strict=True)]


def _distinct(settings: list[dict[str, Any]], keys: list[str]) -> int:
    return len({tuple(str(one.get(key)) for key in keys) for one in settings})


def _worded(key: str, value: Any) -> str:
    """dynamic; ink,dots; iters=3; limit=null."""
    name = key.rpartition(".")[2]
    return str(value) if name in ("name", "names") else f"{name}={'null' if value is None else value}"


def comparison_table(compared: Sequence[ComparisonRow], monitor: Monitor) -> str:
    """Metrics, size and speed; and, where it was measured, the mean accuracy under each distortion."""
    names = shown_names(_runs(compared), monitor)
    head = ["", "seeds", "epochs", *map(heading_of, names), "parameters", "train/s", "infer/s"]
    rows = [
        [
            one.label,
            str(len(one.runs.runs)),
            whole(one.runs.mean("epochs")),
            *(str(one.runs.spread(name) or "-") for name in names),
            whole(one.runs.parameters),
            *(whole(one.runs.mean(name)) for name in SPEEDS),
        ]
        for one in compared
    ]
    text = columns([head, *rows])
    if any(one.robustness for one in compared):
        distortions = [distortion.name for distortion in DISTORTIONS]
        metric = judged_by(compared[0].runs.runs[0])
        means = [[one.label, *(shown(metric, one.mean_under(name)) for name in distortions)] for one in compared]
        text += f"\n\n  on distorted test images, mean over each range: {heading_of(metric)}\n"
        text += columns([["", *distortions], *means])
    return text


def write_comparison(path: Path, compared: Sequence[ComparisonRow], monitor: Monitor) -> None:
    """Write comparison.csv: a row for each network, with a column for its mean accuracy under each distortion."""
    names = measured_names(_runs(compared), monitor)
    rows = [
        {"label": one.label}
        | one.runs.summed(names)
        | {"epochs": one.runs.mean("epochs")}
        | {distortion.name: one.mean_under(distortion.name) for distortion in DISTORTIONS}
        for one in compared
    ]
    write_csv(path, list(rows[0]), rows)


def _runs(compared: Sequence[ComparisonRow]) -> list[RunResult]:
    return [run for one in compared for run in one.runs.runs]
