"""A sweep's jobs in SLURM's queue, through submitit. See `configs/hydra/launcher/slurm.yaml`."""

import contextlib
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

from ..errors import CheckpointError, ConfigError
from ..runs.measures import monitored
from ..runs.result import read_result
from ..text import relative
from .hydra_job import record_failure, record_of
from .jobs import job_folder
from .plan import NOT_REPEATED

QUEUE_SECONDS = 10  # between two looks at the queue


class SlurmLauncher(BaseSubmititLauncher):
    """Submits the jobs to SLURM and waits until all of them are done, even if some fail.

    A job that SLURM starts again, on request or after its time limit, continues by itself, see `hydra_job.py`.
    """

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        jobs = {number: list(overrides) for number, overrides in enumerate(job_overrides, initial_job_idx)}
        values = {}  # of the monitored metric, by the job's number
        for number, overrides in jobs.items():
            with contextlib.suppress(CheckpointError):  # a damaged record; the job itself says so
                record = record_of(job_folder(folder, number), overrides)
                if record is not None and record["status"] in NOT_REPEATED:
                    values[number] = monitored(read_result(job_folder(folder, number)))
        queued = self._queue({number: jobs[number] for number in jobs.keys() - values.keys()})
        try:
            for number, job in queued.items():
                values[number] = _value(job, job_folder(folder, number), jobs[number])
        except KeyboardInterrupt:
            ids = " ".join(sorted({job.job_id.partition("_")[0] for job in queued.values()}))
            print(f"\nThe jobs stay in SLURM's queue. To cancel them: scancel {ids}")
            print(f"To see their results so far: python -m capsnet.sweeps {shlex.quote(relative(folder))}")
            raise
        return [_returned(values[number]) for number in jobs]

    def _queue(self, jobs: dict[int, list[str]]) -> dict[int, Any]:
        """Submit jobs, given by number and overrides, as one array. Returns submitit's jobs."""
        import submitit

        if not jobs:
            return {}
        settings = dict(self.params)
        folder, timeouts = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
        code = shlex.quote(str(Path(__file__).parents[2]))
        # Modules that lie in the current folder must not be imported.
        own_code = f"export PYTHONSAFEPATH=1 PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}"
        settings["setup"] = [own_code, *(settings["setup"] or [])]
        shared = set(BaseQueueConf.__dataclass_fields__)  # the others are SLURM's own
        try:
            executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
            executor.update_parameters(**{key if key in shared else f"slurm_{key}": settings[key] for key in settings})
            orders = [
                (overrides, "hydra.sweep.dir", number, str(number), Singleton.get_state())
                for number, overrides in jobs.items()
            ]
            submitted = executor.map_array(self, *zip(*orders, strict=True))
        except (RuntimeError, submitit.core.utils.FailedJobError) as error:
            own = Path(self.config.hydra.sweep.dir, ".submitit")
            if Path(folder).parent == own and not any(own.glob("*/*_result.pkl")):  # nothing else is there
                shutil.rmtree(own, ignore_errors=True)
            raise ConfigError(
                f"hydra/launcher=slurm: {(str(error).strip() or repr(error)).splitlines()[-1]}"
            ) from error
        print(f"Submitted to SLURM as job {submitted[0].job_id.partition('_')[0]}", flush=True)
        return dict(zip(jobs, submitted, strict=True))


def _value(job: Any, run_dir: Path, overrides: list[str]) -> float | None:
    """Wait for what a job returns, see `run_job`; None if it failed, and then its record says why."""
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        if not _has_ended(job):
            record_failure(run_dir, overrides, f"SLURM job {job.job_id}: left the queue without a result")
            return None
        returned = job.results()[0]
    except (FailedJobError, UncompletedJobError) as error:
        what = "failed" if isinstance(error, FailedJobError) else job.state
        printed = Path(job.paths.stderr)
        where = f"; see {relative(printed)}" if printed.exists() else ""
        record_failure(run_dir, overrides, f"SLURM job {job.job_id}: {what}{where}")
        return None
    return returned.return_value if returned.status == JobStatus.COMPLETED else None


def _has_ended(job: Any) -> bool:
    """Wait until a job has ended. False if it left the queue without a result; without accounting, nobody knows why."""
    missed = 0
    while not job.done():
        time.sleep(1)
        if time.monotonic() % QUEUE_SECONDS < 1:
            command = ["squeue", "--noheader", f"--jobs={job.job_id}"]
            listed = subprocess.run(command, capture_output=True, text=True, check=False)
            reached = listed.returncode == 0 or "Invalid job id" in listed.stderr
            missed = missed + 1 if reached and not listed.stdout.strip() else 0
            if missed >= 3 and not job.done(force_check=True):
                return False
    return True


def _returned(value: float | None) -> JobReturn:
    returned = JobReturn(status=JobStatus.COMPLETED)
    returned.return_value = value
    return returned
