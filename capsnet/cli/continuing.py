"""Continuing, repeating or refitting a run from the command line. Its folder has its config, so Hydra is not needed."""

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

from ..runs.folder import new_folder, removed_unless_started
from ..runs.record import RunRecord, recorded_computing
from ..runs.refit import refitting
from ..runs.rerun import repetition
from ..runs.resume import resumed
from ..runs.saved_config import save_config
from ..settings.composing import compose_foreign, default_run_dir
from ..settings.config import Config, as_dict
from ..settings.foreign import SECTIONS, check_sections, given_again, instantiated
from ..settings.parse import parse_values
from ..sweeps.plan import job_label
from ..text import counted, relative
from .arguments import config_dirs_of, overrides_of
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
    sections, settings = compose_foreign(overrides_of(arguments), config_dirs_of(arguments), run_dir)
    config, overrides = resumed(run_dir, parse_values(settings))
    start_logging()
    from ..training.run import train  # loads torch, so only if everything is right

    label = job_label(run_dir, overrides)
    results = train(config, run_dir, overrides, resume=True, label=label, **_given_anew(config, sections))
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
    folder = new_folder(default_run_dir())
    with removed_unless_started(folder):
        sections, settings = compose_foreign(overrides_of(arguments), config_dirs_of(arguments), folder)
        earlier = repetition(run_dir, parse_values(settings))
        computing = recorded_computing(earlier.record)
        announcement = earlier.announcement()
        results = _train_anew(folder, earlier.config, earlier.overrides, announcement, sections, computing)
    message, identical = earlier.verdict(folder, results)
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
    folder = new_folder(default_run_dir())
    with removed_unless_started(folder):
        sections, settings = compose_foreign(overrides_of(arguments), config_dirs_of(arguments), folder)
        config, overrides = refitting(run_dir, parse_values(settings))
        epochs = counted(config.trainer.max_epochs, "epoch")
        announcement = f"Training {relative(run_dir)} again on all training images, for the {epochs} that it chose"
        results = _train_anew(folder, config, overrides, announcement, sections)
    if results.status == "interrupted":
        raise KeyboardInterrupt


def _train_anew(
    folder: Path,
    config: Config,
    overrides: list[str],
    announcement: str,
    sections: dict[str, dict[str, Any]],
    computing: dict[str, Any] | None = None,
) -> RunRecord:
    """Train in a new folder, which gets what Hydra writes at the start of a run."""
    save_config(folder, as_dict(config), overrides)
    start_logging()
    log.info("%s\n", announcement)
    from ..training.run import train  # loads torch, so only if everything is right

    return train(config, folder, overrides, computing=computing, **_given_anew(config, sections))


def _given_anew(config: Config, sections: dict[str, dict[str, Any]]) -> dict[str, list[Any]]:
    """The loggers and callbacks that this command line asks for, put into a config from a run's folder.

    Those that the config has from there are not made. A line says so.
    """
    kept = dataclasses.replace(config, **{group: {} for group in sections})
    if line := given_again(kept):
        log.info("%s", line)
    anew = dataclasses.replace(config, **{group: sections.get(group, {}) for group in SECTIONS})
    check_sections(anew)
    for group, section in sections.items():
        setattr(config, group, section)
    return instantiated(anew)
