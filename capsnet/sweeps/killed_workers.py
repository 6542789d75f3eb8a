"""Jobs in worker processes, one of which is killed: the others go on, and its record says what happened."""

import logging
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from ..runs.folder import RECORD_FILE
from ..runs.measures import monitored
from ..runs.record import FINISHED
from ..runs.result import read_result
from .hydra_job import record_failure, record_interruption
from .jobs import job_folder

log = logging.getLogger(__name__)

KILLED = "its process was killed, probably for lack of memory: fewer jobs at a time, or a smaller data.batch_size"


class Persistent:
    """A launcher that survives the death of a worker process.

    Libraries such as loky then end all workers. The jobs that have not ended are launched again, one after the other.
    One that kills its process once more, alone, has failed.

    Args:
        launcher: Hydra's.
        folder: of the sweep.
    """

    def __init__(self, launcher: Any, folder: Path):
        self.launcher, self.folder = launcher, folder

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        try:
            return self.launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        except BrokenProcessPool:
            log.warning("a process of the sweep was killed; the other jobs go on, one after the other")
        except KeyboardInterrupt:
            if type(self.launcher).__name__ == "JoblibLauncher":  # it ends its workers before they can write that
                for number in range(initial_job_idx, initial_job_idx + len(job_overrides)):
                    record_interruption(job_folder(self.folder, number))
            raise
        jobs = enumerate(map(list, job_overrides), start=initial_job_idx)
        return [self._launch_alone(number, overrides) for number, overrides in jobs]

    def _launch_alone(self, number: int, overrides: list[str]) -> JobReturn:
        run_dir = job_folder(self.folder, number)
        if not self._has_ended(run_dir):
            try:
                return self.launcher.launch([overrides], initial_job_idx=number)[0]
            except BrokenProcessPool:
                record_failure(run_dir, overrides, KILLED)
        job = JobReturn()
        job.status = JobStatus.COMPLETED  # its record says how
        result = read_result(run_dir)
        job.return_value = monitored(result) if result.status == "completed" else None
        return job

    def _has_ended(self, run_dir: Path) -> bool:
        return (run_dir / RECORD_FILE).exists() and read_result(run_dir).status in FINISHED
