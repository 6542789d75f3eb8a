"""Train a network: compose the config, train, test the best checkpoint, leave everything in the run's folder."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ..errors import ConfigError
from ..runs.folder import SWEEP_FILE, removed_unless_started
from ..settings import CONFIGS
from ..settings.composing import compose, prepare_hydra, with_quoted_paths
from ..settings.foreign import instantiated
from ..settings.parse import config_from_omegaconf
from ..sweeps.hydra_job import run_job
from ..sweeps.plan import as_typed, continuing_arguments, started_in
from .arguments import SHOWS, config_dirs_of, continued_folder, hydra_arguments, in_its_folder, overrides_of
from .continuing import refit, rerun, resume
from .help import train_help
from .program import one_line_errors


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="config")
def train_composed(composed: DictConfig) -> float | None:
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        return run_job(composed)
    run_dir = Path(job.runtime.output_dir)
    with one_line_errors(), removed_unless_started(run_dir):
        if (sweep := job.runtime.choices.get("sweep")) is not None:
            raise ConfigError(f"sweep={sweep}: add -m, or write  hydra: {{mode: MULTIRUN}}  into its YAML file")
        config = config_from_omegaconf(composed)
        from ..training.run import train  # loads torch, so only if the config is right

        overrides = as_typed(job.overrides.task)
        results = train(config, run_dir, overrides, **instantiated(config))
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return results.metrics.get(results.monitor)


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(train_help())
        return
    arguments = hydra_arguments(sys.argv[1:])
    config_dirs = config_dirs_of(arguments)
    prepare_hydra(overrides_of(arguments), config_dirs)
    word, folder, others = continued_folder(arguments)
    if word == "rerun":
        rerun(folder, others)
    elif word == "refit":
        refit(folder, others)
    elif word == "resume" and not (folder / SWEEP_FILE).exists():
        resume(folder, others)
    else:
        if word is not None:
            arguments = continuing_arguments(folder, others)
            arguments = in_its_folder(arguments, started_in(folder))
        arguments = with_quoted_paths(arguments)
        if set(SHOWS) & set(arguments):  # what training would refuse is not shown either
            compose(*overrides_of(arguments), config_dirs=config_dirs)
        sys.argv[1:] = arguments
        train_composed()
