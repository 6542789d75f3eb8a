"""Train a network: compose the config, train, test the best checkpoint, leave everything in the run's folder."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from capsnet.cli.arguments import continued_folder, multirun_first
from capsnet.cli.composing import prepare_hydra, with_quoted_paths
from capsnet.cli.continuing import refit, rerun, resume
from capsnet.cli.help import train_help
from capsnet.cli.program import one_line_errors, run_program
from capsnet.runs.folder import SWEEP_FILE, removed_unless_started
from capsnet.settings.foreign import instantiated
from capsnet.settings.parse import config_from_omegaconf
from capsnet.sweeps.hydra_job import run_job
from capsnet.sweeps.plan import continuing_arguments


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def train_composed(composed: DictConfig) -> float | None:
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        return run_job(composed)
    run_dir = Path(job.runtime.output_dir)
    with one_line_errors(), removed_unless_started(run_dir):
        config = config_from_omegaconf(composed)
        from capsnet.training.run import train  # loads torch, so only if the config is right

        overrides = list(job.overrides.task)
        results = train(config, run_dir, overrides, **instantiated(config))
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return results.metrics.get(results.monitor)


def main() -> None:
    arguments = multirun_first(sys.argv[1:])
    if {"-h", "--help"} & set(arguments):
        print(train_help())
        return
    prepare_hydra(arguments)
    word, folder, others = continued_folder(arguments)
    if word == "rerun":
        rerun(folder, others)
    elif word == "refit":
        refit(folder, others)
    elif word == "resume" and not (folder / SWEEP_FILE).exists():
        resume(folder, others)
    else:
        sys.argv[1:] = with_quoted_paths(arguments) if word is None else continuing_arguments(folder, others)
        train_composed()


if __name__ == "__main__":
    run_program(main)
