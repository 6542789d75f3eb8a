"""Train a CapsNet: compose the config, train, test the best checkpoint, leave everything in the run's folder."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from capsnet.cli import one_line_errors, register_schema, run_program
from capsnet.compose import config_from_omegaconf, parse_values
from capsnet.resume import SWEEP_FILE, resume_run, resumption, sweep_arguments
from capsnet.sweep_job import run_job

register_schema()


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def main(composed: DictConfig) -> float | None:
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        return run_job(composed)
    run_dir = Path(job.runtime.output_dir)
    with one_line_errors(run_dir):
        config = config_from_omegaconf(composed)
        from capsnet.training import train  # brings torch: only once the config is known to be right

        results = train(config, run_dir, list(job.overrides.task))
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return results.val_accuracy


def main_or_resume() -> None:
    resumed = resumption(sys.argv[1:])
    if resumed is None:
        main()
        return
    folder, others = resumed
    if (folder / SWEEP_FILE).exists():
        sys.argv[1:] = sweep_arguments(folder, others)
        main()
    elif resume_run(folder, parse_values(others)).status == "interrupted":
        raise KeyboardInterrupt


if __name__ == "__main__":
    run_program(main_or_resume)
