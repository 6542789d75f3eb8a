"""The sweepers that `configs/hydra/sweeper/` names; Hydra takes plugins from a package of this name only."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from capsnet.errors import CapsNetError
from capsnet.resume import SWEEP_FILE, quoted
from capsnet.sweep import FINISHED, PLAN_FILE, read_jobs, summarise, write_plan


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which also plans, sums up at the end whatever happened, and tells failures by its exit code.

    A sweep that is started again in the same folder goes on: see `capsnet.sweep_job`.
    """

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        try:
            returned = super().sweep(arguments)
        except BaseException:
            self._end(folder, interrupted=True)
            raise
        if not self._end(folder, interrupted=False):
            sys.exit(1)
        return returned

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        if self.batch_index == 0:
            assert self.overrides is not None
            assert self.config is not None
            jobs = [job for batch in self.overrides for job in batch]
            write_plan(Path(self.config.hydra.sweep.dir), jobs)
        return super().get_job_batch()

    def _end(self, folder: Path, interrupted: bool) -> bool:
        """Print the summary; were all jobs completed?"""
        try:
            print("\n" + summarise(folder), flush=True)
        except CapsNetError:  # no job has begun
            with contextlib.suppress(OSError):
                for name in (SWEEP_FILE, PLAN_FILE):
                    (folder / name).unlink(missing_ok=True)
                for path in (folder, *folder.parents):  # up to the first one that is not empty
                    path.rmdir()
            return False
        jobs = read_jobs(folder)
        if interrupted or any(job.status not in FINISHED for job in jobs):
            print(f"  go on      python {sys.argv[0]} resume={quoted(str(folder)) if ' ' in str(folder) else folder}")
        return all(job.status == "completed" for job in jobs)
