"""A sweep in one table and one picture, read from the folders of its jobs."""

import csv
import os
import statistics
from dataclasses import asdict
from pathlib import Path

from ..errors import CheckpointError
from ..files import atomic_write
from ..reports.terminal import command
from ..runs.folder import RECORD_FILE
from ..runs.record import FINISHED
from ..text import duration, percent, printable, relative
from .jobs import Job, read_jobs, swept_keys
from .plan import PLAN_FILE, read_plan

TABLE_FILE, PICTURE_FILE = "sweep.csv", "sweep.png"


def summarize(folder: Path) -> str:
    """Write sweep.csv and sweep.png into a sweep's folder, and return the table as text.

    Raises:
        CheckpointError: there is no such folder, or it has no jobs.
    """
    jobs, plan = read_jobs(folder), read_plan(folder)
    if not jobs:
        raise CheckpointError(f"{folder}: has no jobs of a sweep (numbered folders with {RECORD_FILE})")
    swept = swept_keys(jobs, plan)
    best_first = sorted(jobs, key=lambda job: -1 if job.val_accuracy is None else job.val_accuracy, reverse=True)
    _write_csv(folder / TABLE_FILE, best_first, swept)
    scored = [job for job in best_first if job.status == "completed" and job.val_accuracy is not None]
    if panels := accuracies_by_value(scored, swept):
        from ..reports import figures  # loads matplotlib, so only if there is something to draw

        figures.save(figures.sweep_panels(panels), folder / PICTURE_FILE)
    lines = [_table(best_first, swept), ""]
    planned = plan.jobs if plan else len(jobs)
    unfinished = planned - sum(job.status in FINISHED for job in jobs)
    if unfinished > 0:
        lines.append(f"  {unfinished} of {planned} jobs are not finished")
    if changed := [str(job.number) for job in jobs if job.changed]:
        lines.append(
            f"  changed    the records or metrics of jobs {', '.join(changed)} were changed after the jobs wrote them"
        )
    if plan is None and os.path.lexists(folder / PLAN_FILE):
        lines.append(f"  changed    {PLAN_FILE} was changed or is damaged, so unfinished jobs are not counted")
    lines += [_over_seeds(scored)] if len(scored) > 1 and swept == ["seed"] else []
    if scored:
        lines.append(f"  best       {relative(scored[0].folder)}  ({scored[0].describe(swept)})")
        lines.append(f"  evaluate   {command('evaluate.py', f'run={relative(scored[0].folder)}')}")
    lines.append(f"  summary    {relative(folder / TABLE_FILE)}" + (f", {PICTURE_FILE}" if scored else ""))
    return "\n".join(lines)


def _over_seeds(jobs: list[Job]) -> str:
    """Mean and standard deviation over seeds."""
    parts = []
    for name in ("validation", "test"):
        values = [job.val_accuracy if name == "validation" else job.test_accuracy for job in jobs]
        known = [value for value in values if value is not None]
        if len(known) > 1:
            parts.append(f"{name} accuracy {statistics.mean(known):.2%} ± {statistics.stdev(known):.2%}")
    return f"  over {len(jobs)} seeds (mean ± standard deviation): " + ", ".join(parts)


def _write_csv(path: Path, jobs: list[Job], swept: list[str]) -> None:
    columns = ["job", *swept, "status", "val_accuracy", "test_accuracy", "seconds", "best_epoch", "reason"]
    with atomic_write(path) as draft, draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for job in jobs:
            writer.writerow({**asdict(job), **job.values, "job": job.number})


def _table(jobs: list[Job], swept: list[str]) -> str:
    head = ["job", *swept, "validation", "test", "time", "status"]
    rows = [
        [
            str(job.number),
            *(printable(job.values.get(key, "")) for key in swept),
            percent(job.val_accuracy),
            percent(job.test_accuracy),
            "-" if job.seconds is None else duration(job.seconds),
            printable(job.status),
        ]
        for job in jobs
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    )


def accuracies_by_value(jobs: list[Job], swept: list[str]) -> dict[str, dict[str, list[float]]]:
    """For each swept key, the validation accuracies of the jobs at each of its values, in the values' order."""

    def order(value: str) -> tuple[int, float, str]:
        try:
            return 0, float(value), value
        except ValueError:
            return 1, 0.0, value

    found = {}
    for key in swept:
        values = sorted({job.values[key] for job in jobs if key in job.values}, key=order)
        found[key] = {
            value: [job.val_accuracy for job in jobs if job.values.get(key) == value and job.val_accuracy is not None]
            for value in values
        }
    return {key: by_value for key, by_value in found.items() if by_value}
