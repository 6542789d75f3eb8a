"""All runs and sweeps below a folder, a line each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..text import counted, left_columns, printable, relative, shown
from .folder import RECORD_FILE, SWEEP_FILE
from .measures import common_monitor, in_test, monitored, rank
from .record import FINISHED
from .result import RunResult, read_result

HEADINGS = ("folder", "name", "network", "data", "best", "test", "status")


@dataclass
class Entry:
    """A run, or a sweep with its jobs."""

    folder: Path
    runs: list[RunResult]
    is_sweep: bool

    @property
    def tags(self) -> set[str]:
        return {tag for run in self.runs for tag in run.tags}

    @property
    def written(self) -> float:
        """When the newest record was written, in seconds since 1970."""
        return max(run.written for run in self.runs)

    def row(self) -> list[str]:
        monitor = common_monitor(self.runs)
        best = max(self.runs, key=lambda run: rank(run.metrics.get(monitor.name), monitor))
        test = in_test(monitor.name)
        return [
            relative(self.folder),
            " ".join(dict.fromkeys(run.name for run in self.runs if run.name)) or "-",
            _either(_chosen(run, "model") for run in self.runs),
            _either(_chosen(run, "data") for run in self.runs),
            f"{monitor.name} {shown(monitor.name, monitored(best))}",
            shown(test, best.metrics.get(test)),
            self._status(),
        ]

    def _status(self) -> str:
        if not self.is_sweep:
            return self.runs[0].status
        unfinished = sum(run.status not in FINISHED for run in self.runs)
        failed = sum(run.status in ("failed", "diverged") for run in self.runs)
        notes = [f"{unfinished} unfinished" if unfinished else "", f"{failed} failed" if failed else ""]
        return ", ".join([f"sweep of {counted(len(self.runs), 'job')}", *filter(None, notes)])


def entries(folder: Path, tag: str | None = None) -> list[Entry]:
    """The runs and sweeps in a folder and below it, the newest last.

    Args:
        folder: such as outputs/.
        tag: only those with this tag.
    """
    by_folder: dict[Path, list[Path]] = {}
    for record in sorted(folder.rglob(RECORD_FILE)):
        run = record.parent
        sweep = next((above for above in run.parents if (above / SWEEP_FILE).is_file()), None)
        by_folder.setdefault(sweep or run, []).append(run)
    found = [Entry(place, list(map(read_result, runs)), place not in runs) for place, runs in by_folder.items()]
    return sorted((one for one in found if tag is None or tag in one.tags), key=lambda one: one.written)


def table(found: Sequence[Entry]) -> str:
    """A line for each, aligned to the left."""
    return left_columns([HEADINGS, *([printable(cell) for cell in entry.row()] for entry in found)])


def _chosen(run: RunResult, group: str) -> str:
    section: Any = (run.config or {}).get(group)
    return str(section.get("name", "-")) if isinstance(section, dict) else "-"


def _either(names: Any) -> str:
    """One name, or how many there are."""
    different = list(dict.fromkeys(names))
    return different[0] if len(different) == 1 else f"{len(different)} different"
