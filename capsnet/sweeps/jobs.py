"""The jobs of a sweep, read from their folders."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import CheckpointError
from ..runs.folder import JOB_NAME, RECORD_FILE
from ..runs.result import RunResult, read_result
from ..text import printable
from .plan import Plan, differing_keys, values_by_key


@dataclass
class Job(RunResult):
    """A row of sweep.csv."""

    @property
    def number(self) -> int:
        return number_of(self.folder)

    @cached_property
    def values(self) -> dict[str, str]:
        """Overrides by key."""
        return values_by_key(self.overrides)

    def describe(self, swept: list[str]) -> str:
        """Its values of the swept keys, as they were given."""
        values = self.values
        return printable(" ".join(f"{key}={values[key]}" for key in swept if key in values))


def read_jobs(folder: Path) -> list[Job]:
    """The jobs that have begun, by number.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder")
    return [read_job(path) for path in job_folders(folder)]


def number_of(folder: Path) -> int:
    """A job's number, with which the name of its folder begins."""
    return int(JOB_NAME.match(folder.name)[1])


def job_folders(folder: Path) -> list[Path]:
    """The folders of the jobs that have begun, by number."""
    numbered = (path for path in folder.iterdir() if JOB_NAME.match(path.name) and (path / RECORD_FILE).exists())
    return sorted(numbered, key=number_of)


def job_folder(folder: Path, number: int) -> Path:
    """The folder of a job, as `hydra.sweep.subdir` has named it; if it has not begun, its number alone."""
    begun = [path for path in job_folders(folder) if number_of(path) == number]
    return begun[0] if begun else folder / str(number)


def read_job(folder: Path) -> Job:
    """A job from its folder; its status is "unreadable" if its record is."""
    return Job(**vars(read_result(folder)))


def swept_keys(jobs: list[Job], plan: Plan | None) -> list[str]:
    """The keys that a sweep varies: those planned, or else those that differ between the jobs so far."""
    return plan.swept if plan is not None else differing_keys([job.values for job in jobs])
