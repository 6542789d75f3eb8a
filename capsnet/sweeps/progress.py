"""A line in the terminal for every job of a sweep that ends, with the time left."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from ..runs.measures import outcome
from ..runs.record import FINISHED
from ..runs.result import record_time
from ..text import duration, printable
from .jobs import Job, job_folders, read_job, read_jobs, swept_keys
from .plan import Plan, read_plan

CHECK_SECONDS = 0.5  # between two looks at the jobs' folders


@contextlib.contextmanager
def progress_lines(folder: Path) -> Iterator[None]:
    """Print a line for every job that ends in the meantime. Its folder shows that, wherever the job runs.

    Args:
        folder: of the sweep.
    """
    earlier = {job.folder: job.written for job in read_jobs(folder) if job.status in FINISHED}
    ended: set[Path] = set()  # their records are not read again

    def look() -> None:
        candidates = [
            path for path in job_folders(folder) if path not in ended and earlier.get(path) != record_time(path)
        ]
        for job in sorted(map(read_job, candidates), key=lambda job: job.written):
            if job.status in FINISHED:
                ended.add(job.folder)
                tqdm.write(progress(job, read_plan(folder), len(ended)))  # plain print would break a progress bar

    def watch() -> None:
        while not over.wait(CHECK_SECONDS):
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
    """The line for a job that has just ended: number, overrides, outcome, its time, time left for the sweep.

    Args:
        job: of the sweep.
        plan: of the sweep.
        ended: number of jobs that have ended since the plan was written, this one included.
    """
    done = ended + (plan.finished_before if plan else 0)
    line = (f"[{done}/{plan.jobs}] " if plan else "") + f"job {job.number}  {job.describe(swept_keys([job], plan))}  "
    line += outcome(job) if job.status == "completed" else job.status
    line += f"  |  took {duration(job.total_seconds or job.seconds or 0)}"
    if plan is not None and done < plan.jobs:
        seconds_per_job = (time.time() - plan.started) / ended
        line += f", about {duration(seconds_per_job * (plan.jobs - done))} left for the sweep"
    if job.status != "completed" and job.reason:
        line += "\n    " + "\n    ".join(map(printable, job.reason.splitlines()))
    return line
