"""A sweep in one table and one picture, read from the folders of its jobs.

python -m capsnet.sweep DIR      writes DIR/sweep.csv and DIR/sweep.png again, and prints the table
"""

import contextlib
import csv
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .errors import CheckpointError, printable
from .results import RESULTS_FILE, read_record, recorded_overrides, whole_file, write_json
from .terminal import counted, duration, evaluate_command, percent, relative

PLAN_FILE = "sweep.json"
FINISHED = ("completed", "diverged", "failed")
NOT_REPEATED = ("completed", "diverged")
"""Jobs that are left alone when a sweep is continued; those that failed are tried again."""
LOOK_SECONDS = 0.5  # between two looks for jobs that have ended


@dataclass
class Plan:
    """What a sweep is going to do, written at its start: content of sweep.json."""

    jobs: int
    swept: list[str]
    """Keys that differ between jobs."""
    started: float
    """Seconds since 1970."""
    finished_before: int = 0
    """Jobs that an earlier, interrupted start had finished."""

    def write(self, folder: Path) -> None:
        write_json(folder / PLAN_FILE, asdict(self))


@dataclass
class Job:
    """A row of sweep.csv."""

    number: int
    folder: Path
    status: str
    values: dict[str, str] = field(default_factory=dict)
    """Overrides by key."""
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None
    best_epoch: int | None = None
    reason: str | None = None
    written: float = 0.0
    """When its record was written, in seconds since 1970; tells one record from a later one."""


def read_plan(folder: Path) -> Plan | None:
    """None where there is none, or it is unreadable."""
    try:
        content = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        return Plan(
            int(content["jobs"]),
            [str(key) for key in content["swept"]],
            float(content["started"]),
            int(content["finished_before"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_plan(folder: Path, jobs: Sequence[Sequence[str]]) -> str:
    """Note that a sweep is going to run these jobs, each given by its overrides, and say so in a line."""
    return plan_sweep(folder, len(jobs), _differing([_values(overrides) for overrides in jobs]))


def plan_sweep(folder: Path, jobs: int, swept: list[str]) -> str:
    """Note what a sweep is going to do, how many jobs over which keys, and say so in a line."""
    finished = sum(job.status in NOT_REPEATED for job in read_jobs(folder))
    Plan(jobs, swept, time.time(), finished).write(folder)
    before = f" ({finished} finished before)" if finished else ""
    keys = f" over {', '.join(swept)}" if jobs > 1 else ""
    return f"{counted(jobs, 'job')}{before}{keys} in {relative(folder)}"


def _values(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides by key."""
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, _, value in pairs}


def _differing(jobs: list[dict[str, str]]) -> list[str]:
    """The keys whose values are not the same in all jobs; all keys where none differs."""
    keys = dict.fromkeys(key for values in jobs for key in values)
    return [key for key in keys if len({values.get(key) for values in jobs}) > 1] or list(keys)


def read_jobs(folder: Path) -> list[Job]:
    """The jobs that have begun, by number.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder")
    return [_read_job(path) for path in _job_folders(folder)]


def _job_folders(folder: Path) -> list[Path]:
    """The folders of the jobs that have begun, by number."""
    numbered = (path for path in folder.iterdir() if path.name.isdigit() and (path / RESULTS_FILE).exists())
    return sorted(numbered, key=lambda path: int(path.name))


def _read_job(folder: Path) -> Job:
    number = int(folder.name)
    try:
        record = read_record(folder)
    except CheckpointError as error:
        return Job(number, folder, "unreadable", reason=str(error))
    return Job(
        number,
        folder,
        str(record.get("status")),
        _values(recorded_overrides(record)),
        _number(record.get("val_accuracy")),
        _number(record.get("test_accuracy")),
        _number(record.get("train_seconds")),
        record.get("best_epoch"),
        record.get("reason"),
        _written(folder),
    )


def _written(folder: Path) -> float:
    return (folder / RESULTS_FILE).stat().st_mtime


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def swept_keys(jobs: list[Job], plan: Plan | None) -> list[str]:
    """The keys that the sweep goes over: those planned, else those that differ between the jobs so far."""
    return plan.swept if plan is not None else _differing([job.values for job in jobs])


def describe(job: Job, swept: list[str]) -> str:
    """The swept values of a job, as they were asked for."""
    return printable(" ".join(f"{key}={job.values[key]}" for key in swept if key in job.values))


def swept_values(run_dir: Path, overrides: Sequence[str]) -> dict[str, str]:
    """What tells a sweep's job from the others, by key; empty for a run that is none."""
    plan, values = read_plan(run_dir.parent), _values(overrides)
    return {key: values[key] for key in plan.swept if key in values} if plan is not None else {}


@contextlib.contextmanager
def progress_lines(folder: Path) -> Iterator[None]:
    """Print a line for every job that ends meanwhile, wherever it runs: its folder tells."""
    earlier = {job.folder: job.written for job in read_jobs(folder) if job.status in FINISHED}
    ended: set[Path] = set()  # meanwhile; their records are not read again

    def look() -> None:
        waited_for = [
            path for path in _job_folders(folder) if path not in ended and earlier.get(path) != _written(path)
        ]
        for job in sorted(map(_read_job, waited_for), key=lambda job: job.written):
            if job.status in FINISHED:
                ended.add(job.folder)
                tqdm.write(progress(job, read_plan(folder), len(ended)))  # not into a job's progress bar

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            look()

    over, watcher = threading.Event(), threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        look()


def progress(job: Job, plan: Plan | None, ended: int) -> str:
    """The line for a job that has just ended: number, overrides, accuracy, time, time left for the whole sweep.

    Args:
        job: of the sweep.
        plan: of the sweep.
        ended: how many jobs have ended since the plan was made, this one included.
    """
    done = ended + (plan.finished_before if plan else 0)
    line = (f"[{done}/{plan.jobs}] " if plan else "") + f"job {job.number}  {describe(job, swept_keys([job], plan))}  "
    line += f"validation accuracy {percent(job.val_accuracy)}" if job.status == "completed" else job.status
    line += f"  |  {duration(job.seconds or 0)}"
    if plan is not None and done < plan.jobs:
        rate = (time.time() - plan.started) / ended
        line += f", about {duration(rate * (plan.jobs - done))} left"
    if job.status != "completed" and job.reason:
        line += "\n    " + "\n    ".join(map(printable, job.reason.splitlines()))
    return line


def summarise(folder: Path) -> str:
    """Write sweep.csv and sweep.png of a sweep's folder, and give the table that says the same.

    Raises:
        CheckpointError: there is no such folder, or no job in it.
    """
    jobs, plan = read_jobs(folder), read_plan(folder)
    if not jobs:
        raise CheckpointError(f"{folder}: holds no job of a sweep (a numbered folder with {RESULTS_FILE})")
    swept = swept_keys(jobs, plan)
    best_first = sorted(jobs, key=lambda job: -1 if job.val_accuracy is None else job.val_accuracy, reverse=True)
    _write_csv(folder / "sweep.csv", best_first, swept)
    scored = [job for job in best_first if job.status == "completed" and job.val_accuracy is not None]
    if drawn := panels(scored, swept):
        from .figures import save, sweep_panels  # brings torch and matplotlib: only where there is something to draw

        save(sweep_panels(drawn), folder / "sweep.png")
    lines = [_table(best_first, swept), ""]
    missing = (plan.jobs if plan else len(jobs)) - sum(job.status in FINISHED for job in jobs)
    if missing > 0:
        lines.append(f"  {missing} of {plan.jobs if plan else len(jobs)} jobs are not finished")
    lines += [_agreement(scored)] if len(scored) > 1 and swept == ["seed"] else []
    if scored:
        lines.append(f"  best       {relative(scored[0].folder)}  ({describe(scored[0], swept)})")
        lines.append(f"  evaluate   {evaluate_command(scored[0].folder)}")
    lines.append(f"  summary    {relative(folder / 'sweep.csv')}" + (", sweep.png" if scored else ""))
    return "\n".join(lines)


def _agreement(jobs: list[Job]) -> str:
    """Mean and standard deviation over seeds."""
    parts = []
    for name in ("val_accuracy", "test_accuracy"):
        values = [value for job in jobs if (value := getattr(job, name)) is not None]
        if len(values) > 1:
            spread = f"{statistics.mean(values):.2%} ± {statistics.stdev(values):.2%}"
            parts.append(f"{name.replace('val_', 'validation ').replace('test_', 'test ')} {spread}")
    return f"  over {len(jobs)} seeds (mean ± standard deviation): " + ", ".join(parts)


def _write_csv(path: Path, jobs: list[Job], swept: list[str]) -> None:
    columns = ["job", *swept, "status", "val_accuracy", "test_accuracy", "seconds", "best_epoch", "reason"]
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
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


def panels(jobs: list[Job], swept: list[str]) -> dict[str, dict[str, list[float]]]:
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


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if len(sys.argv) == 2 else 2)
    from .cli import run_program  # a program's part, which brings Hydra; the rest of this module does without

    run_program(lambda: print(summarise(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
