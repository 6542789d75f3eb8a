"""Train a CapsNet: compose the config, train, test the best checkpoint, leave everything in the run's folder."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from capsnet.cli import one_line_errors, register_schema, run_program
from capsnet.compose import config_from_omegaconf

register_schema()


@hydra.main(version_base="1.3", config_path="configs", config_name="config")
def main(composed: DictConfig) -> float | None:
    job = HydraConfig.get()
    run_dir = Path(job.runtime.output_dir)
    with one_line_errors(run_dir):
        config = config_from_omegaconf(composed)
        from capsnet.training import train  # brings torch: only once the config is known to be right

        results = train(config, run_dir, list(job.overrides.task))
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return results.val_accuracy


if __name__ == "__main__":
    run_program(main)
