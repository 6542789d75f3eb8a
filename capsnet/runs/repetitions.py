"""Runs that differ only in their seed, summed up by mean and standard deviation."""

import statistics
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from .result import RunResult

Run = TypeVar("Run", bound=RunResult)

ACCURACIES = ("val_accuracy", "test_accuracy", "test_balanced_accuracy")
SPEEDS = ("train_images_per_second", "inference_images_per_second")
SUMMED_COLUMNS = ["seeds", *(f"{name}_{of}" for name in ACCURACIES for of in ("mean", "std")), "parameters", *SPEEDS]
"""Of the tables for programs, summary.csv and comparison.csv; see `Repetitions.summed`."""


class Spread(NamedTuple):
    """A number measured in several runs."""

    mean: float
    deviation: float | None
    """Standard deviation of the sample; None if it was measured once."""

    def __str__(self) -> str:
        """As a percentage: 96.15% ± 0.20%."""
        return f"{self.mean:.2%}" + ("" if self.deviation is None else f" ± {self.deviation:.2%}")


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and standard deviation of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


@dataclass
class Repetitions(Generic[Run]):
    """Runs that differ only in their seed."""

    runs: list[Run]

    @property
    def completed(self) -> list[Run]:
        return [run for run in self.runs if run.status == "completed"]

    @property
    def val_accuracy(self) -> Spread | None:
        return spread(run.val_accuracy for run in self.completed)

    @property
    def test_accuracy(self) -> Spread | None:
        return spread(run.test_accuracy for run in self.completed)

    @property
    def test_balanced_accuracy(self) -> Spread | None:
        return spread(run.test_balanced_accuracy for run in self.completed)

    @property
    def parameters(self) -> int | None:
        return next((run.parameters for run in self.runs if run.parameters), None)

    def mean(self, name: str) -> float | None:
        """Mean of an attribute of `RunResult` over the completed runs that have it."""
        measured = spread(getattr(run, name) for run in self.completed)
        return None if measured is None else measured.mean

    def summed(self) -> dict[str, int | float | None]:
        """The numbers for `SUMMED_COLUMNS`."""
        row: dict[str, int | float | None] = {"seeds": len(self.completed), "parameters": self.parameters}
        for name in ACCURACIES:
            row[f"{name}_mean"], row[f"{name}_std"] = getattr(self, name) or (None, None)
        return row | {name: self.mean(name) for name in SPEEDS}


LEAST_DIFFERENCE = 0.005
"""Between accuracy and balanced accuracy, from which on a table shows both."""


def is_unbalanced(runs: Iterable[RunResult]) -> bool:
    """Does the balanced accuracy of any of these runs say something else than its accuracy?"""
    pairs = [(run.test_accuracy, run.test_balanced_accuracy) for run in runs]
    return any(
        accuracy is not None and balanced is not None and abs(accuracy - balanced) >= LEAST_DIFFERENCE
        for accuracy, balanced in pairs
    )


def grouped(runs: Sequence[Run], setting: Callable[[Run], Hashable]) -> list[Repetitions[Run]]:
    """Runs with the same setting together, best mean validation accuracy first.

    Args:
        runs: of one sweep, or to be compared.
        setting: what a run has besides its seed.
    """
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault(setting(run), []).append(run)
    repetitions = [Repetitions(group) for group in groups.values()]
    return sorted(repetitions, key=_accuracy, reverse=True)


def _accuracy(group: Repetitions) -> float:
    return -1 if group.val_accuracy is None else group.val_accuracy.mean
