"""Train a CapsNet: compose the config, train, test the best checkpoint, leave everything in the run's folder."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from capsnet.cli import one_line_errors, register_schema, run_program
from capsnet.compose import config_from_omegaconf, parse_values
from capsnet.errors import ConfigError
from capsnet.rerun import rerun
from capsnet.results import removed_if_unused
from capsnet.resume import SWEEP_FILE, folder_named, resume_run, sweep_arguments
from capsnet.sweep_job import run_job

register_schema()


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def main(composed: DictConfig) -> float | None:
    job = HydraConfig.get()
    if job.mode == RunMode.MULTIRUN:
        return run_job(composed)
    run_dir = Path(job.runtime.output_dir)
    with one_line_errors(), removed_if_unused(run_dir):
        config = config_from_omegaconf(composed)
        from capsnet.training import train  # brings torch: only once the config is known to be right

        results = train(config, run_dir, list(job.overrides.task))
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return results.val_accuracy


def main_or_again() -> None:
    words = {argument.partition("=")[0] for argument in sys.argv[1:]}
    flags = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    again = sorted(words & {"resume", "rerun"})
    if again and (flags or len(again) > 1):
        raise ConfigError(f"{again[-1]}=: not together with {(flags or again)[0]}; it takes a folder and settings")
    if repeated := folder_named("rerun", sys.argv[1:]):
        folder, others = repeated
        results, identical = rerun(folder, parse_values(others))
        if not identical and results.status == "completed":
            sys.exit(1)
    elif resumed := folder_named("resume", sys.argv[1:]):
        folder, others = resumed
        if (folder / SWEEP_FILE).exists():
            sys.argv[1:] = sweep_arguments(folder, others)
            main()
            return
        results = resume_run(folder, parse_values(others))
    else:
        main()
        return
    if results.status == "interrupted":
        raise KeyboardInterrupt


if __name__ == "__main__":
    run_program(main_or_again)
