"""Continuing, repeating or refitting a run from the command line. Its folder has its config, so Hydra is not needed."""

import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ..runs.folder import new_folder, removed_unless_started
from ..runs.record import RunRecord, recorded_computing
from ..runs.refit import refitting
from ..runs.rerun import repetition
from ..runs.resume import resumed
from ..settings.config import Config, as_dict
from ..settings.parse import parse_values
from ..sweeps.plan import job_label
from ..text import counted, relative
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
    repeated, results = _train_anew(
        earlier.config, earlier.overrides, earlier.announcement(), recorded_computing(earlier.record)
    )
    message, identical = earlier.verdict(repeated, results)
    log.info("\n%s", message)
    if results.status == "interrupted":
        raise KeyboardInterrupt
    if not identical:
        sys.exit(1)


def refit(run_dir: Path, arguments: list[str]) -> None:
    """Train on all training images, in a new folder, what a run chose on its validation images.

    Args:
        run_dir: the run's folder.
        arguments: settings to replace, as KEY=VALUE.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    config, overrides = refitting(run_dir, parse_values(arguments))
    epochs = counted(config.trainer.max_epochs, "epoch")
    announcement = f"Training {relative(run_dir)} again on all training images, for the {epochs} that it chose"
    _, results = _train_anew(config, overrides, announcement)
    if results.status == "interrupted":
        raise KeyboardInterrupt


def _train_anew(
    config: Config, overrides: list[str], announcement: str, computing: dict[str, Any] | None = None
) -> tuple[Path, RunRecord]:
    """Train in a new folder, which has what Hydra writes at the start of a run. Gives the folder and the record."""
    folder = new_folder(default_run_dir())
    (folder / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(as_dict(config)), folder / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
    start_logging()
    log.info("%s\n", announcement)
    with removed_unless_started(folder):
        from ..training.run import train  # loads torch, so only if everything is right

        return folder, train(config, folder, overrides, computing=computing)
