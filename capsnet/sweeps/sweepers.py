"""How Hydra goes through a sweep: every combination, or a search. See `configs/hydra/sweeper/`."""

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException

from ..errors import CapsNetError, ConfigError
from ..files import make_folder, remove_made_folder
from ..reports.terminal import command
from ..runs.folder import LOCK_FILE, SWEEP_FILE, locked, new_folder, refuse_foreign_files
from ..runs.measures import in_words
from ..settings.composing import without_hydra
from ..settings.config import OPTIONS, Monitor, monitor_named
from ..settings.parse import config_from_omegaconf, quoted
from ..text import either, on_one_line, relative
from .hydra_job import PRUNED, RUNNING_TRIALS
from .jobs import job_folder, read_job, read_jobs
from .killed_workers import Persistent
from .plan import (
    NOT_REPEATED,
    PLAN_FILE,
    as_typed,
    differing_keys,
    is_given,
    read_plan,
    refuse_other_sweep,
    values_by_key,
    write_plan,
)
from .progress import progress_lines
from .summary import summarize

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
    "brute_force": "BruteForceSampler",
}
"""Optuna's samplers, by our names."""
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "hyperband": "HyperbandPruner",
    "halving": "SuccessiveHalvingPruner",
}
"""Optuna's pruners, by our names."""
STUDY_FILE = "study.db"  # in the sweep's folder
TRIALS = 20


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper. It also writes a plan, always ends with a summary, and exits with 1 if a job failed.

    If you start a sweep again in the same folder, it continues, see `hydra_job.py`.
    """

    def setup(self, *, config: DictConfig, **more: Any) -> None:
        if not is_given("hydra.sweep.dir", as_typed(config.hydra.overrides.hydra)):
            folder = str(new_folder(Path(config.hydra.sweep.dir)))  # also if two sweeps start in the same second
            with flag_override(config, "readonly", False):
                config.hydra.sweep.dir = folder
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(folder)}")  # for the jobs
        super().setup(config=config, **more)
        self.launcher = Persistent(self.launcher, Path(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        subdir = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"]
        if not re.fullmatch(r"\$\{hydra\.job\.num\}(_.*)?", subdir) or "/" in subdir:
            example = "'hydra.sweep.subdir=${hydra.job.num}_seed${seed}'"
            raise ConfigError(f"hydra.sweep.subdir={subdir}: must begin with the job's number, as {example}")
        refuse_foreign_files(folder, sweep=True)
        make_folder(folder)
        with locked(folder):
            refuse_other_sweep(folder, as_typed(self.config.hydra.overrides.task))
            try:
                with progress_lines(folder):
                    returned = self._launch_all(arguments)
            except BaseException:
                self._end(folder, interrupted=True)
                raise
            if not self._end(folder, interrupted=False):
                sys.exit(1)
            return returned

    def _launch_all(self, arguments: list[str]) -> Any:
        return super().sweep(arguments)

    def get_job_batch(self) -> Sequence[Sequence[str]]:
        if self.batch_index == 0:
            assert self.overrides is not None
            assert self.config is not None
            jobs = [list(job) for batch in self.overrides for job in batch]
            self._refuse_or_name_wrong_settings(jobs)
            values = list(map(values_by_key, jobs))
            self._plan(Path(self.config.hydra.sweep.dir), len(jobs), differing_keys(values))
        return super().get_job_batch()

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing: all jobs have been composed when they were planned."""

    def _refuse_or_name_wrong_settings(self, jobs: list[list[str]]) -> None:
        """Say before the first job starts which ones will fail by their settings.

        Raises:
            ConfigError: all of them; or there are none.
        """
        if not jobs:
            raise ConfigError("this sweep has no jobs")
        assert self.config is not None
        done = {job.number for job in read_jobs(Path(self.config.hydra.sweep.dir)) if job.status in NOT_REPEATED}
        wrong: dict[int, Exception] = {}
        of_the_sweep = HydraConfig.instance().cfg
        try:
            for number, overrides in enumerate(jobs):
                if number in done:
                    continue
                composed = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
                with open_dict(composed):  # as the launcher does it
                    composed.hydra.job.id, composed.hydra.job.num = str(number), number
                    composed.hydra.runtime.output_dir = str(Path(composed.hydra.sweep.dir, composed.hydra.sweep.subdir))
                HydraConfig.instance().set_config(composed)
                try:
                    config_from_omegaconf(without_hydra(composed))
                except Exception as error:  # what is no CapsNetError is a bug of a plugin's: it may fail in the job
                    if not isinstance(error.__cause__, OmegaConfBaseException):  # a job may know what ${...} means
                        wrong[number] = error
        finally:
            HydraConfig.instance().cfg = of_the_sweep
        if len(wrong) == len(jobs) and isinstance(wrong[0], CapsNetError):
            raise wrong[0]
        for number, error in wrong.items():
            print(f"job {number} is going to fail: {on_one_line(error)}", flush=True)

    def _plan(self, folder: Path, jobs: int, swept: list[str]) -> None:
        """Write and print what the sweep is going to do."""
        finished = sum(job.status in NOT_REPEATED for job in read_jobs(folder))
        print(write_plan(folder, jobs, swept, finished), flush=True)

    def _end(self, folder: Path, interrupted: bool) -> bool:
        """Print the summary; says if all jobs were completed."""
        try:
            print("\n" + summarize(folder), flush=True)
        except CapsNetError:  # no job has started
            for name in (SWEEP_FILE, PLAN_FILE, STUDY_FILE, LOCK_FILE):
                (folder / name).unlink(missing_ok=True)
            remove_made_folder(folder)
            return False
        jobs = read_jobs(folder)
        if interrupted or any(job.status not in NOT_REPEATED for job in jobs):
            print(f"  continue   {command('train.py', f'resume={relative(folder)}')}")
        return all(job.status == "completed" for job in jobs)


class OptunaSweeper(GridSweeper):
    """A search by Optuna for the best value of the monitored metric.

    The search space is written in Hydra's syntax: `interval(0, 0.5)` or `tag(log, interval(1e-4, 1e-2))` for numbers,
    `range(0, 4)` for whole numbers, `choice(a, b)` or `a,b` for names.

    Args:
        trials: number of jobs; None: as many as were planned before if a search is continued, else 20.
        max_batch_size: number of jobs to choose and launch at a time; more than one only helps a parallel launcher.
        seed: of the search.
        params: the search space, by key.
        sampler: what chooses the values, one of SAMPLERS.
        pruner: what ends jobs early, one of PRUNERS. It needs jobs that run in this process, one after the other.
    """

    def __init__(
        self,
        trials: int | None,
        max_batch_size: int | None,
        seed: int,
        params: dict[str, str] | None = None,
        sampler: str = "tpe",
        pruner: str = "none",
    ):
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.trials, self.seed, self.sampler, self.pruner = trials, seed, sampler, pruner

    def _launch_all(self, arguments: list[str]) -> list[float | None]:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError("sweep=optuna: needs Optuna: pip install optuna") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for key, least in (("trials", 1), ("max_batch_size", 1), ("seed", 0)):
            if (value := getattr(self, key)) is not None and (not isinstance(value, int) or value < least):
                raise ConfigError(f"hydra.sweeper.{key}={value}: must be a whole number, at least {least}")
        for key, value, known in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in known:
                raise ConfigError(f"hydra.sweeper.{key}={value}: choose {either(known)}")
        if self.sampler == "cmaes" and not importlib.util.find_spec("cmaes"):
            raise ConfigError("hydra.sweeper.sampler=cmaes: needs another package: pip install cmaes")
        if self.pruner != "none" and not isinstance(self.launcher.launcher, BasicLauncher):
            raise ConfigError(f"hydra.sweeper.pruner={self.pruner}: needs jobs in this process, without hydra/launcher")
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = {
            override.get_key_element(): override
            for override in parser.parse_overrides([*self._parse_config(), *arguments])
        }
        space = {key: _distribution(override) for key, override in given.items() if override.is_sweep_override()}
        fixed = [f"{key}={one.get_value_element_as_str()}" for key, one in given.items() if key not in space]

        def overrides_of(values: dict[str, Any]) -> list[str]:
            return [*fixed, *(f"{key}={_shown(value)}" for key, value in values.items())]

        monitor = self._monitor(overrides_of(optuna.create_study().ask(space).params))
        folder = Path(self.config.hydra.sweep.dir)
        OmegaConf.save(self.config, folder / SWEEP_FILE)
        earlier = read_plan(folder)
        trials, at_a_time = self.trials or (earlier.jobs if earlier else TRIALS), self.max_batch_size or 1
        self._plan(folder, trials, list(space))
        study = optuna.create_study(
            storage=f"sqlite:///{folder.absolute() / STUDY_FILE}",
            study_name="capsnet",
            direction="minimize" if monitor.lower_is_better else "maximize",
            sampler=self._sampler(),
            pruner=getattr(optuna.pruners, PRUNERS[self.pruner])(),
            load_if_exists=True,
        )
        exhausted: list[bool] = []
        study.stop = lambda: exhausted.append(True)  # called by samplers that try everything once
        for first in range(0, trials, at_a_time):
            if exhausted:
                break
            numbers = range(first, min(first + at_a_time, trials))
            while len(study.trials) < numbers.stop:
                study.ask(space)
            asked = study.trials[first : numbers.stop]
            chosen = [overrides_of(trial.params) for trial in asked]
            trials_here = {trial.number: optuna.trial.Trial(study, trial._trial_id) for trial in asked}
            RUNNING_TRIALS.update(trials_here if self.pruner != "none" else {})
            returned = self.launcher.launch(chosen, initial_job_idx=first)
            RUNNING_TRIALS.clear()
            for trial, job in zip(asked, returned, strict=True):
                if not trial.state.is_finished():
                    pruned = self._was_pruned(folder, trial.number)
                    state = optuna.trial.TrialState.PRUNED if pruned else None
                    state = optuna.trial.TrialState.FAIL if job.return_value is None else state
                    study.tell(trial.number, None if state else job.return_value, state=state)
        return [trial.value for trial in study.trials]

    def _sampler(self) -> Any:
        import optuna

        return getattr(optuna.samplers, SAMPLERS[self.sampler])(seed=self.seed)

    def _was_pruned(self, folder: Path, number: int) -> bool:
        return (read_job(job_folder(folder, number)).reason or "").startswith(PRUNED)

    def _monitor(self, overrides: list[str]) -> Monitor:
        """What jobs with these overrides are searched by. Raises ConfigError if they do not measure it."""
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        monitor = monitor_named(composed.monitor, OPTIONS["task"][composed.task.name])
        for key in ("data.val_size", "trainer.limit_val_batches"):
            if monitor.name.startswith("val/") and OmegaConf.select(composed, key) == 0:
                raise ConfigError(f"sweep=optuna: searches by {in_words(monitor.name)}, so {key}=0 is refused")
        return monitor


def _distribution(override: Override) -> Any:
    """Optuna's distribution for values in Hydra's sweep syntax."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        kind = IntDistribution if whole else FloatDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep) and isinstance(value.start, int) and isinstance(value.step, int):
        last = max(range(int(value.start), int(value.stop), value.step))  # Hydra's range does not include its end
        return IntDistribution(value.start, last, step=value.step)
    return CategoricalDistribution(list(override.sweep_iterator(transformer=Transformer.encode)))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
