"""A sweep in two tables and one picture, read from the folders of its jobs."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import CheckpointError
from ..files import write_csv
from ..reports.terminal import command
from ..runs.folder import RECORD_FILE
from ..runs.record import FINISHED
from ..runs.repetitions import ACCURACIES, SPEEDS, SUMMED_COLUMNS, Repetitions, grouped, is_unbalanced
from ..text import columns, duration, percent, printable, relative, whole
from .jobs import Job, read_jobs, swept_keys
from .plan import read_plan

JOBS_FILE, SETTINGS_FILE, PICTURE_FILE = "sweep.csv", "summary.csv", "sweep.png"
SEED = "seed"
SIZE_AND_SPEED = ["parameters", "train/s", "infer/s"]

Setting = Repetitions[Job]


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
    settings = grouped(readable, lambda job: tuple(job.values.get(key) for key in keys))
    best_first = sorted(jobs, key=lambda job: -1 if job.val_accuracy is None else job.val_accuracy, reverse=True)
    _write_jobs(folder / JOBS_FILE, best_first, swept)
    _write_settings(folder / SETTINGS_FILE, settings, keys)
    drawn = _draw(folder / PICTURE_FILE, settings, keys)
    table = _table_of_settings(settings, keys) if SEED in swept else _table_of_jobs(best_first, swept)
    lines = [table, ""]
    planned = plan.jobs if plan else len(jobs)
    unfinished = planned - sum(job.status in FINISHED for job in jobs)
    if unfinished > 0:
        begun = [f"job {job.number} is {job.status}" for job in jobs if job.status in ("running", "interrupted")]
        lines.append(f"  {unfinished} of {planned} jobs are not finished" + (f": {', '.join(begun)}" if begun else ""))
    for status in ("failed", "diverged", "unreadable"):
        if (numbers := [str(job.number) for job in jobs if job.status == status]) and SEED in swept:
            lines.append(f"  {status:<10} jobs {', '.join(numbers)}, see {JOBS_FILE}")
    if _validated(settings):
        lines += _best(settings[0], swept, keys)
    lines.append(
        f"  summary    {relative(folder / SETTINGS_FILE)}, {JOBS_FILE}" + (f", {PICTURE_FILE}" if drawn else "")
    )
    return "\n".join(lines)


def _completed(settings: list[Setting]) -> list[Job]:
    return [job for setting in settings for job in setting.completed]


def _validated(settings: list[Setting]) -> bool:
    """Can the completed jobs, if there are any, be compared by validation?"""
    completed = _completed(settings)
    return bool(completed) and all(job.val_accuracy is not None for job in completed)


def _best(setting: Setting, swept: list[str], keys: list[str]) -> list[str]:
    """The best setting, and its first job: the luckiest seed says less about it."""
    job = setting.completed[0]
    folder, evaluate = relative(job.folder), command("evaluate.py", f"run={relative(job.folder)}")
    if SEED not in swept:
        return [f"  best       {folder}  ({job.describe(swept)})", f"  evaluate   {evaluate}"]
    described = f"{job.describe(keys)}, " if keys else ""
    return [f"  best       {described}validation accuracy {setting.val_accuracy}", f"  evaluate   {evaluate}"]


def _write_jobs(path: Path, jobs: list[Job], swept: list[str]) -> None:
    measured = ["status", *ACCURACIES, "seconds", "best_epoch", "reason"]
    write_csv(path, ["job", *swept, *measured], [{**asdict(job), **job.values, "job": job.number} for job in jobs])


def _write_settings(path: Path, settings: list[Setting], keys: list[str]) -> None:
    write_csv(path, [*keys, *SUMMED_COLUMNS], [setting.runs[0].values | setting.summed() for setting in settings])


def _table_of_jobs(jobs: list[Job], swept: list[str]) -> str:
    unbalanced = is_unbalanced(jobs)
    rows = [
        [
            str(job.number),
            *_values(job, swept),
            percent(job.val_accuracy),
            percent(job.test_accuracy),
            *([percent(job.test_balanced_accuracy)] if unbalanced else []),
            *_size_and_speed(Repetitions([job])),
            "-" if job.seconds is None else duration(job.seconds),
            printable(job.status),
        ]
        for job in jobs
    ]
    head = ["job", *swept, "validation", "test", *(["balanced"] if unbalanced else [])]
    return columns([[*head, *SIZE_AND_SPEED, "time", "status"], *rows])


def _table_of_settings(settings: list[Setting], keys: list[str]) -> str:
    unbalanced = is_unbalanced([job for setting in settings for job in setting.completed])
    rows = [
        [
            *_values(setting.runs[0], keys),
            str(len(setting.completed)),
            str(setting.val_accuracy or "-"),
            str(setting.test_accuracy or "-"),
            *([str(setting.test_balanced_accuracy or "-")] if unbalanced else []),
            *_size_and_speed(setting),
        ]
        for setting in settings
    ]
    head = [*keys, "seeds", "validation", "test", *(["balanced"] if unbalanced else [])]
    return columns([[*head, *SIZE_AND_SPEED], *rows])


def _values(job: Job, keys: list[str]) -> list[str]:
    return [printable(job.values.get(key, "")) for key in keys]


def _size_and_speed(setting: Setting) -> list[str]:
    """Parameters; images per second in training and in the test."""
    return [whole(setting.parameters), *(whole(setting.mean(name)) for name in SPEEDS)]


def _draw(path: Path, settings: list[Setting], keys: list[str]) -> bool:
    """Draw sweep.png if any job has an accuracy: that of validation if all have it, else that of the test."""
    completed, validated = _completed(settings), _validated(settings)
    measured = [(job, job.val_accuracy if validated else job.test_accuracy) for job in completed]
    panels = accuracies_by_value(measured, keys or [SEED])
    if not panels:
        return False
    from ..reports import figures  # loads matplotlib, so only if there is something to draw

    sized = [
        figures.Sized(
            _label(setting.runs[0], keys),
            setting.parameters,
            [job.test_accuracy for job in setting.completed if job.test_accuracy is not None],
        )
        for setting in settings
        if setting.parameters and setting.test_accuracy is not None
    ]
    measure = "best validation accuracy" if validated else "test accuracy"
    figures.save(figures.sweep_panels(panels, sized, measure), path)
    return True


def _label(job: Job, keys: list[str]) -> str:
    """A setting's values alone: efficient_capsnet, 3."""
    return ", ".join(value for value in _values(job, keys) if value)


def accuracies_by_value(
    jobs: Sequence[tuple[Job, float | None]], swept: list[str]
) -> dict[str, dict[str, list[float]]]:
    """For each swept key, the accuracies of the jobs at each of its values, in the values' order.

    Args:
        jobs: each with its accuracy, if it has one.
        swept: the keys.
    """

    def order(value: str) -> tuple[int, float, str]:
        try:
            return 0, float(value), value
        except ValueError:
            return 1, 0.0, value

    known = [(job.values, accuracy) for job, accuracy in jobs if accuracy is not None]
    by_key = {}
    for key in swept:
        values = sorted({values[key] for values, _ in known if key in values}, key=order)
        by_key[key] = {value: [accuracy for values, accuracy in known if values.get(key) == value] for value in values}
    return {key: by_value for key, by_value in by_key.items() if by_value}
