"""Runs that differ only in their seed, summed up by mean and standard deviation."""

import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from ..settings.config import Monitor
from ..text import is_share
from .measures import column_of, rank
from .result import RunResult

Run = TypeVar("Run", bound=RunResult)

SPEEDS = ("train_images_per_second", "inference_images_per_second")


class Spread(NamedTuple):
    """A number measured in several runs."""

    mean: float
    deviation: float | None
    """Standard deviation of the sample; None if it was measured once."""
    is_share: bool = True
    """People read it as a percentage."""

    def __str__(self) -> str:
        """96.15% ± 0.20%, or 0.0482 ± 0.0011."""
        mean, deviation = ("{:.2%}", "{:.2%}") if self.is_share else ("{:.4g}", "{:.2g}")
        return mean.format(self.mean) + ("" if self.deviation is None else f" ± {deviation.format(self.deviation)}")


def spread(values: Iterable[float | None], name: str = "") -> Spread | None:
    """Mean and standard deviation of what is known; None if nothing is.

    Args:
        values: of a metric, one per run.
        name: of the metric.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), deviation, is_share(name, known))


@dataclass
class Repetitions(Generic[Run]):
    """Runs that differ only in their seed."""

    runs: list[Run]

    @property
    def completed(self) -> list[Run]:
        return [run for run in self.runs if run.status == "completed"]

    @property
    def parameters(self) -> int | None:
        return next((run.parameters for run in self.runs if run.parameters), None)

    def values(self, name: str) -> list[float]:
        """A metric, such as val/accuracy, of the completed runs that have it."""
        return [run.metrics[name] for run in self.completed if name in run.metrics]

    def spread(self, name: str) -> Spread | None:
        """Mean and standard deviation of a metric over the completed runs."""
        return spread(self.values(name), name)

    def mean(self, name: str) -> float | None:
        """Mean of an attribute of `RunResult` over the completed runs that have it."""
        measured = spread(getattr(run, name) for run in self.completed)
        return None if measured is None else measured.mean

    def summed(self, names: Sequence[str]) -> dict[str, int | float | None]:
        """A row of the tables for programs, summary.csv and comparison.csv, by column.

        Args:
            names: of the metrics; val/accuracy has the columns val_accuracy_mean and val_accuracy_std.
        """
        row: dict[str, int | float | None] = {"seeds": len(self.completed)}
        for name in names:
            mean, deviation, _ = self.spread(name) or (None, None, None)
            row |= {f"{column_of(name)}_mean": mean, f"{column_of(name)}_std": deviation}
        return row | {"parameters": self.parameters} | {speed: self.mean(speed) for speed in SPEEDS}


def grouped(runs: Sequence[Run], setting: Callable[[Run], Hashable], monitor: Monitor) -> list[Repetitions[Run]]:
    """Runs with the same setting together, the one with the best mean first.

    Args:
        runs: of one sweep, or to be compared.
        setting: what a run has besides its seed.
        monitor: by what they are compared.
    """
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(setting(run), []).append(run)

    def rank_of(group: Repetitions) -> float:
        measured = group.spread(monitor.name)
        return rank(measured and measured.mean, monitor)

    return sorted((Repetitions(group) for group in groups.values()), key=rank_of, reverse=True)
