"""A sweep in two tables and one picture, read from the folders of its jobs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import write_csv
from ..reports.terminal import command
from ..runs.folder import RECORD_FILE
from ..runs.measures import (
    are_comparable,
    column_of,
    common_monitor,
    heading_of,
    in_test,
    in_words,
    measured_names,
    rank,
    shown_names,
)
from ..runs.record import FINISHED
from ..runs.repetitions import SPEEDS, Repetitions, grouped
from ..settings.config import Monitor, saved_leaves, untrained_keys
from ..text import columns, duration, printable, relative, shown, whole
from .jobs import Job, read_jobs, swept_keys
from .plan import read_plan

JOBS_FILE, SETTINGS_FILE, PICTURE_FILE = "sweep.csv", "summary.csv", "sweep.png"
SEED = "seed"
SIZE_AND_SPEED = ["parameters", "train/s", "infer/s"]


def summarize(folder: Path) -> str:
    """Write sweep.csv, summary.csv and sweep.png into a sweep's folder, and return its table as text.

    Raises:
        CheckpointError: there is no such folder, or it has no jobs.
    """
    jobs, plan = read_jobs(folder), read_plan(folder)
    if not jobs:
        raise CheckpointError(f"{folder}: has no jobs of a sweep (numbered folders with {RECORD_FILE})")
    swept = swept_keys(jobs, plan)
    keys = [key for key in swept if key != SEED]
    readable = [job for job in jobs if job.status != "unreadable"]
    monitor = common_monitor(readable)
    names, in_terminal = measured_names(readable, monitor), shown_names(readable, monitor)
    trained = _trained(readable)
    settings = grouped(readable, lambda job: (*_swept(job, keys), trained[job.folder]), monitor)
    best_first = sorted(jobs, key=lambda job: rank(job.metrics.get(monitor.name), monitor), reverse=True)
    _write_jobs(folder / JOBS_FILE, best_first, swept, names)
    _write_settings(folder / SETTINGS_FILE, settings, keys, names)
    drawn = _draw(folder / PICTURE_FILE, settings, keys, monitor)
    if by_setting := SEED in swept:
        lines = [_table_of_settings(settings, keys, in_terminal), ""]
    else:
        lines = [_table_of_jobs(best_first, swept, in_terminal), ""]
    planned = plan.jobs if plan else len(jobs)
    unfinished = planned - sum(job.status in FINISHED for job in jobs)
    if unfinished > 0:
        begun = [f"job {job.number} is {job.status}" for job in jobs if job.status in ("running", "interrupted")]
        lines.append(f"  {unfinished} of {planned} jobs are not finished" + (f": {', '.join(begun)}" if begun else ""))
    for status in ("failed", "diverged", "unreadable"):
        if (numbers := [str(job.number) for job in jobs if job.status == status]) and by_setting:
            lines.append(f"  {status:<10} jobs {', '.join(numbers)}, see {JOBS_FILE}")
    lines += _edited(readable, keys, trained)
    if are_comparable(_completed(settings), monitor):
        lines += _best(settings, swept, keys, monitor)
    lines.append(
        f"  summary    {relative(folder / SETTINGS_FILE)}, {JOBS_FILE}" + (f", {PICTURE_FILE}" if drawn else "")
    )
    return "\n".join(lines)


def _swept(job: Job, keys: list[str]) -> tuple[str | None, ...]:
    return tuple(job.values.get(key) for key in keys)


def _trained(jobs: Sequence[Job]) -> dict[Path, str | None]:
    """What each job was trained with, but for its seed, by folder; None if it failed before that was known.

    Two jobs with the same swept values differ in it only if a YAML file, a variable that it names, or a plugin has
    changed.
    """
    left_out = {*untrained_keys(), SEED}
    trained: dict[Path, str | None] = {}
    for job in jobs:
        settings = {key: value for key, value in saved_leaves(job.config or {}).items() if key not in left_out}
        settings |= job.other_code
        trained[job.folder] = json.dumps(settings, sort_keys=True) if settings else None
    return trained


def _edited(jobs: Sequence[Job], keys: list[str], trained: dict[Path, str | None]) -> list[str]:
    """A line if jobs with the same swept values were trained with different settings, which are not averaged."""
    first: dict[tuple, dict[str, Any]] = {}
    differing: set[str] = set()
    for job in jobs:
        if (known := trained[job.folder]) is not None:
            settings = json.loads(known)
            one = first.setdefault(_swept(job, keys), settings)
            differing |= {key for key in {*one, *settings} if one.get(key) != settings.get(key)}
    if not differing:
        return []
    return [f"  kept apart jobs whose config has changed meanwhile: {', '.join(sorted(differing))}"]


def _completed(settings: list[Repetitions[Job]]) -> list[Job]:
    return [job for setting in settings for job in setting.completed]


def _best(settings: list[Repetitions[Job]], swept: list[str], keys: list[str], monitor: Monitor) -> list[str]:
    """The best setting, and its first job: the luckiest seed says less about it."""
    first, job = settings[0].spread(monitor.name), settings[0].completed[0]
    means = [measured.mean for setting in settings if (measured := setting.spread(monitor.name))]
    folder = relative(job.folder)
    evaluate = command("evaluate.py", f"run={folder}", (job.plugin or {}).get("path"))
    if (equal := means.count(first.mean)) > 1:
        best = f"{equal} settings are equally good, {in_words(monitor.name)} {shown(monitor.name, first.mean)}"
        return [f"  no best    {best}"]
    if SEED in swept:
        best = (f"{job.describe(keys)}, " if keys else "") + f"{in_words(monitor.name)} {first}"
    else:
        best = f"{folder}  ({job.describe(swept)})"
    return [f"  best       {best}", f"  evaluate   {evaluate}"]


def _write_jobs(path: Path, jobs: list[Job], swept: list[str], names: list[str]) -> None:
    measured = ["status", *map(column_of, names), "seconds", "best_epoch", "reason"]
    rows = [
        {**asdict(job), **{column_of(name): job.metrics.get(name) for name in names}, **job.values, "job": job.number}
        for job in jobs
    ]
    write_csv(path, ["job", *swept, *measured], rows)


def _write_settings(path: Path, settings: list[Repetitions[Job]], keys: list[str], names: list[str]) -> None:
    header = [*keys, *Repetitions([]).summed(names)]
    write_csv(path, header, [setting.runs[0].values | setting.summed(names) for setting in settings])


def _table_of_jobs(jobs: list[Job], swept: list[str], names: list[str]) -> str:
    rows = [
        [
            str(job.number),
            *_values(job, swept),
            *(shown(name, job.metrics.get(name)) for name in names),
            *_size_and_speed(Repetitions([job])),
            "-" if job.seconds is None else duration(job.seconds),
            printable(job.status),
        ]
        for job in jobs
    ]
    return columns([["job", *swept, *map(heading_of, names), *SIZE_AND_SPEED, "time", "status"], *rows])


def _table_of_settings(settings: list[Repetitions[Job]], keys: list[str], names: list[str]) -> str:
    rows = [
        [
            *_values(setting.runs[0], keys),
            str(len(setting.completed)),
            *(str(setting.spread(name) or "-") for name in names),
            *_size_and_speed(setting),
        ]
        for setting in settings
    ]
    return columns([[*keys, "seeds", *map(heading_of, names), *SIZE_AND_SPEED], *rows])


def _values(job: Job, keys: list[str]) -> list[str]:
    return [printable(job.values.get(key, "")) for key in keys]


def _size_and_speed(setting: Repetitions[Job]) -> list[str]:
    """Parameters; images per second in training and in the test."""
    return [whole(setting.parameters), *(whole(setting.mean(name)) for name in SPEEDS)]


def _draw(path: Path, settings: list[Repetitions[Job]], keys: list[str], monitor: Monitor) -> bool:
    """Draw sweep.png if there is something to draw: the monitored metric if all jobs have it, else that of the test."""
    completed, tested = _completed(settings), in_test(monitor.name)
    name = monitor.name if are_comparable(completed, monitor) else tested
    panels = metric_by_value([(job, job.metrics.get(name)) for job in completed], keys or [SEED])
    if not panels:
        return False
    from ..reports import figures  # loads matplotlib, so only if there is something to draw

    sized = [
        figures.Group(_label(setting.runs[0], keys), setting.parameters, values)
        for setting in settings
        if setting.parameters and (values := setting.values(tested))
    ]
    figures.save(figures.sweep_panels(panels, sized, Monitor(name, monitor.lower_is_better)), path)
    return True


def _label(job: Job, keys: list[str]) -> str:
    """A setting's values alone: efficient_capsnet, 3."""
    return ", ".join(value for value in _values(job, keys) if value)


def metric_by_value(jobs: Sequence[tuple[Job, float | None]], swept: list[str]) -> dict[str, dict[str, list[float]]]:
    """For each swept key, a metric of the jobs at each of its values, in the values' order.

    Args:
        jobs: each with the metric, if it has one.
        swept: the keys.
    """

    def order(value: str) -> tuple[int, float, str]:
        try:
            return 0, float(value), value
        except ValueError:
            return 1, 0.0, value

    known = [(job.values, measured) for job, measured in jobs if measured is not None]
    by_key = {}
    for key in swept:
        values = sorted({values[key] for values, _ in known if key in values}, key=order)
        by_key[key] = {value: [measured for values, measured in known if values.get(key) == value] for value in values}
    return {key: by_value for key, by_value in by_key.items() if by_value}
