"""Robustness: accuracy on distorted test images, measured, written to robustness.csv and read again."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from ..data.batches import Batches
from ..errors import CheckpointError, DivergedError
from ..files import write_csv
from ..losses import Loss
from ..settings.config import COMBINABLE
from ..tasks.task import Task
from ..text import columns, shown
from .distortions import DISTORTIONS, UNITS
from .scores import score_outputs


class Point(NamedTuple):
    """Accuracy at one level of one distortion; a row of robustness.csv."""

    distortion: str
    level: float
    unit: str
    accuracy: float
    epoch: int | None
    """From which the network's weights are, counted from 1."""


def measure_robustness(
    network: nn.Module,
    batches: Batches,
    task: Task,
    loss: Loss,
    metric: str,
    unchanged: dict[str, Any],
    epoch: int | None,
) -> list[Point]:
    """A metric at every level of every distortion, with a progress bar.

    Args:
        network: on the device of the batches.
        batches: of the test items, always in the same order.
        task: what is learned.
        loss: that the network was trained with.
        metric: name of an option of `metrics`, of one that the task adds, or of a loss.
        unchanged: what was measured on the images as they are, by name.
        epoch: from which the network is, for the table.

    Raises:
        DivergedError: at some level, the metric is NaN or infinite.
    """
    network.eval()
    points = []
    places = [(distortion, level) for distortion in DISTORTIONS for level in distortion.levels]
    for distortion, level in tqdm(places, desc="robustness", leave=False, disable=None):
        measured = unchanged
        if level != distortion.unchanged:
            generator = torch.Generator().manual_seed(0)
            outputs = (
                (task.output(network, distortion.apply(images, level, generator), targets, choose=True), targets)
                for images, targets in batches
            )
            chosen = {metric: COMBINABLE["metrics"][metric]().build()} if metric in COMBINABLE["metrics"] else {}
            measured = score_outputs(outputs, task, task.metrics(chosen), loss).measured
        if metric not in measured:
            raise DivergedError(f"robustness: {metric} is NaN or infinite at {distortion.name}={level:g}")
        points.append(Point(distortion.name, level, distortion.unit, measured[metric], epoch))
    return points


def write_robustness(path: Path, points: Sequence[Point]) -> None:
    write_csv(path, Point._fields, [point._asdict() for point in points])


def read_robustness(path: Path) -> list[Point]:
    """The content of robustness.csv; empty if there is no file. Raises CheckpointError if it is damaged."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            points = [
                Point(
                    row["distortion"],
                    float(row["level"]),
                    row["unit"],
                    float(row["accuracy"]),
                    int(row["epoch"]) if row["epoch"] else None,
                )
                for row in csv.DictReader(file)
            ]
        if any(point.distortion not in UNITS or not math.isfinite(point.accuracy) for point in points):
            raise ValueError("a row is not a number for a known distortion")
        return points
    except Exception as error:
        raise CheckpointError(f"{path}: not a table of robustness ({error}); remove it and measure again") from error


def by_distortion(points: Iterable[Point]) -> dict[str, dict[float, float]]:
    """Accuracy by distortion and level, both in the order of `DISTORTIONS`."""
    curves: dict[str, dict[float, float]] = {name: {} for name in UNITS}
    for point in points:
        curves[point.distortion][point.level] = point.accuracy
    return {name: levels for name, levels in curves.items() if levels}


def robustness_table(points: Sequence[Point], metric: str) -> str:
    """A metric as text: for each distortion a line of levels above a line of what was measured."""
    tables = []
    for name, accuracies in by_distortion(points).items():
        head = [f"{name} ({UNITS[name]})", *(f"{level:g}" for level in accuracies)]
        tables.append(columns([head, ["", *(shown(metric, value) for value in accuracies.values())]]))
    return "\n".join(tables)
