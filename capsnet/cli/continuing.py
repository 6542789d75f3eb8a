"""Continuing or repeating a run from the command line. The run's folder has its config, so Hydra is not needed."""

import logging
import sys
from pathlib import Path

from omegaconf import OmegaConf

from ..runs.folder import new_folder, removed_unless_started
from ..runs.rerun import repetition
from ..runs.resume import resumed
from ..settings.config import as_dict
from ..settings.parse import parse_values
from ..sweeps.plan import job_label
from .composing import default_run_dir
from .program import start_logging

log = logging.getLogger(__name__)


def resume(run_dir: Path, arguments: list[str]) -> None:
    """Continue a run in its own folder.

    Args:
        run_dir: the run's folder.
        arguments: settings to replace, as KEY=VALUE.

    Raises:
        KeyboardInterrupt: it was interrupted again.
    """
    config, overrides = resumed(run_dir, parse_values(arguments))
    start_logging()
    from ..training.run import train  # loads torch, so only if everything is right

    results = train(config, run_dir, overrides, resume=True, label=job_label(run_dir, overrides))
    if results.status == "interrupted":
        raise KeyboardInterrupt


def rerun(run_dir: Path, arguments: list[str]) -> None:
    """Repeat a run in a new folder, say if its metrics are the same, and exit with 1 if they are not.

    Args:
        run_dir: the earlier run's folder.
        arguments: settings to replace, as KEY=VALUE.

    Raises:
        KeyboardInterrupt: the repetition was interrupted.
    """
    earlier = repetition(run_dir, parse_values(arguments))
    repeated = new_folder(default_run_dir())
    (repeated / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(as_dict(earlier.config)), repeated / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create(earlier.overrides), repeated / ".hydra" / "overrides.yaml")
    start_logging()
    log.info("%s\n", earlier.announcement())
    with removed_unless_started(repeated):
        from ..training.run import train  # loads torch, so only if everything is right

        results = train(earlier.config, repeated, earlier.overrides)
    message, identical = earlier.compare(repeated, results)
    log.info("\n%s", message)
    if results.status == "interrupted":
        raise KeyboardInterrupt
    if not identical:
        sys.exit(1)
