"""What runs have measured: the order of its names as columns, how people read it, and which value is better."""

from collections.abc import Iterable, Sequence

from ..errors import ConfigError
from ..settings.config import COMBINABLE, Monitor, measured_by, monitor_of
from ..settings.parse import config_from_dict
from ..text import is_loss, shown
from .record import RunRecord
from .result import RunResult

SPLITS = {"train": "training", "val": "validation", "test": "test"}


def part_of(name: str) -> str:
    """accuracy, of val/accuracy."""
    return name.partition("/")[2]


def in_test(name: str) -> str:
    """test/accuracy, of val/accuracy."""
    return f"test/{part_of(name)}"


def in_words(name: str) -> str:
    """validation balanced accuracy, of val/balanced_accuracy."""
    split, _, part = name.partition("/")
    return f"{SPLITS.get(split, split)} {part.replace('_', ' ')}"


def heading_of(name: str) -> str:
    """val balanced accuracy, of val/balanced_accuracy: short, for the head of a column."""
    return name.replace("/", " ").replace("_", " ")


def column_of(name: str) -> str:
    """val_balanced_accuracy, of val/balanced_accuracy: for a CSV file."""
    return name.replace("/", "_")


def monitored(run: RunResult | RunRecord) -> float | None:
    """What tells a run's best epoch, in this epoch; None if it was not measured."""
    return run.metrics.get(run.monitor)


def outcome(run: RunResult) -> str:
    """validation accuracy 93.00%: what tells the best epoch or, without validation, the same metric in the test."""
    name = run.monitor if monitored(run) is not None else in_test(run.monitor)
    return f"{in_words(name)} {shown(name, run.metrics.get(name))}"


def common_monitor(runs: Sequence[RunResult]) -> Monitor:
    """By what runs are compared: what tells the best epoch of the first one, of those that are completed if any is."""
    telling = [run for run in runs if run.monitor]
    run = next((run for run in telling if run.status == "completed"), next(iter(telling), None))
    if run is None:
        return monitor_of(config_from_dict({}))
    if run.lower_is_better is not None:
        return Monitor(run.monitor, run.lower_is_better)
    try:  # a record from before this was written
        monitor = monitor_of(config_from_dict(run.config or {}, origin=str(run.folder)))
    except ConfigError:  # an option comes from a plugin, or a key no longer exists
        monitor = None
    if monitor is not None and monitor.name == run.monitor:
        return monitor
    option = COMBINABLE["metrics"].get(measured_by(part_of(run.monitor)))
    return Monitor(run.monitor, getattr(option, "lower_is_better", is_loss(run.monitor)))


def are_comparable(runs: Iterable[RunResult], monitor: Monitor) -> bool:
    """Do all of these runs, and there is one, have the metric by which each of them chose its best epoch?"""
    values = [run.metrics.get(monitor.name) if run.monitor == monitor.name else None for run in runs]
    return bool(values) and None not in values


def rank(value: float | None, monitor: Monitor) -> float:
    """A number that is larger for a better value of the monitored metric, and least for none."""
    if value is None:
        return float("-inf")
    return -value if monitor.lower_is_better else value


def measured_names(runs: Iterable[RunResult], monitor: Monitor) -> list[str]:
    """What runs have measured in validation and test: the monitored metric first, then other metrics, losses last."""
    known = {name: None for run in runs for name in run.metrics if name.startswith(("val/", "test/"))}
    known |= dict.fromkeys((monitor.name, in_test(monitor.name)))
    first = part_of(monitor.name)
    parts = sorted(dict.fromkeys(map(part_of, known)), key=lambda part: (part != first, is_loss(part)))
    return [f"{split}/{part}" for part in parts for split in SPLITS if f"{split}/{part}" in known]


def shown_names(runs: Sequence[RunResult], monitor: Monitor) -> list[str]:
    """Those of `measured_names` that a table in the terminal has room for.

    These are the monitored metric and the others that were chosen: no losses, and nothing that only the test measures.
    """
    during_training = {part_of(name) for run in runs for name in run.metrics if not name.startswith("test/")}
    first = part_of(monitor.name)
    return [
        name
        for name in measured_names(runs, monitor)
        if (part := part_of(name)) == first or (part in during_training and not is_loss(part))
    ]
