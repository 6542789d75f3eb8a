"""Robustness: accuracy on distorted test images, measured, written to robustness.csv and read again."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from tqdm import tqdm

from ..data.batches import Batches
from ..errors import CheckpointError
from ..files import write_csv
from ..settings.config import COMBINABLE
from ..tasks.task import Task
from ..text import columns, percent
from .distortions import DISTORTIONS, Distortion


class Point(NamedTuple):
    """Accuracy at one level of one distortion; a row of robustness.csv."""

    distortion: str
    level: float
    unit: str
    accuracy: float
    epoch: int | None
    """From which the network's weights are, counted from 1."""


@torch.no_grad()
def measure_robustness(
    network: nn.Module, batches: Batches, task: Task, metric: str, unchanged: float, epoch: int | None
) -> list[Point]:
    """A metric at every level of every distortion, with a progress bar.

    Args:
        network: on the device of the batches.
        batches: of the test items, always in the same order.
        task: what is learned.
        metric: name of an option of `metrics`, or of one that the task adds.
        unchanged: what was measured on the images as they are.
        epoch: from which the network is, for the table.
    """
    network.eval()
    points = []
    measured = sum(level != distortion.unchanged for distortion in DISTORTIONS for level in distortion.levels)
    with tqdm(total=measured, desc="robustness", leave=False, disable=None) as progress:
        for distortion in DISTORTIONS:
            for level in distortion.levels:
                value = unchanged
                if level != distortion.unchanged:
                    value = _measured(network, batches, task, metric, distortion, level)
                    progress.update()
                points.append(Point(distortion.name, level, distortion.unit, value, epoch))
    return points


def _measured(
    network: nn.Module, batches: Batches, task: Task, metric: str, distortion: Distortion, level: float
) -> float:
    generator = torch.Generator().manual_seed(0)
    chosen = {metric: COMBINABLE["metrics"][metric]().build()} if metric in COMBINABLE["metrics"] else {}
    metrics = task.metrics(chosen)
    for images, targets in batches:
        output = task.output(network, distortion.apply(images, level, generator), targets, choose=True)
        for one in metrics.values():
            one.update(output, targets)
    return float({name: value for one in metrics.values() for name, value in one.compute().items()}[metric])


def write_robustness(path: Path, points: Sequence[Point]) -> None:
    write_csv(path, Point._fields, [point._asdict() for point in points])


def read_robustness(path: Path) -> list[Point]:
    """The content of robustness.csv; empty if there is no file. Raises CheckpointError if it is damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        points = [
            Point(
                row["distortion"],
                float(row["level"]),
                row["unit"],
                float(row["accuracy"]),
                int(row["epoch"]) if row["epoch"] else None,
            )
            for row in rows
        ]
        if any(point.distortion not in _NAMES or not 0 <= point.accuracy <= 1 for point in points):
            raise ValueError("a row is not an accuracy of a known distortion")
        return points
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise CheckpointError(f"{path}: not a table of robustness ({error}); remove it and measure again") from error


_NAMES = {distortion.name for distortion in DISTORTIONS}


def by_distortion(points: Iterable[Point]) -> dict[str, dict[float, float]]:
    """Accuracy by distortion and level, both in the order of `DISTORTIONS`."""
    found: dict[str, dict[float, float]] = {}
    for point in points:
        found.setdefault(point.distortion, {})[point.level] = point.accuracy
    return {name: found[name] for name in (distortion.name for distortion in DISTORTIONS) if name in found}


def robustness_table(points: Sequence[Point]) -> str:
    """Accuracies as text: for each distortion a line of levels above a line of accuracies."""
    units = {point.distortion: point.unit for point in points}
    tables = []
    for name, accuracies in by_distortion(points).items():
        head = [f"{name} ({units[name]})", *(f"{level:g}" for level in accuracies)]
        cells = [head, ["", *map(percent, accuracies.values())]]
        tables.append(columns(cells))
    return "\n".join(tables)
