"""The config that a run was trained with, read back from its folder."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..errors import CheckpointError
from ..files import read_text
from ..settings.config import Config, as_dict
from ..settings.parse import config_from_dict
from ..settings.plugins import loaded_plugin
from ..text import on_one_line
from .folder import LAST_CHECKPOINT

log = logging.getLogger(__name__)


def saved_config(run_dir: Path, overrides: dict[str, str | None]) -> tuple[Config, Config]:
    """A run's config as it was saved, and with settings replaced.

    The last checkpoint has it, with what earlier resumptions changed. A run without a checkpoint has the config that
    Hydra wrote at the start.

    Args:
        run_dir: the run's folder.
        overrides: settings by dotted key.

    Raises:
        CheckpointError: there is neither a checkpoint nor a readable config.
        ConfigError: the config, or an override, is not valid.
    """
    before, origin = _read(run_dir)
    return before, config_from_dict(as_dict(before), overrides, origin=str(origin))


def _read(run_dir: Path) -> tuple[Config, Path]:
    """A run's config, and the file that it is from."""
    if (run_dir / LAST_CHECKPOINT).exists():
        from .checkpoints import load_checkpoint  # loads torch

        path = run_dir / LAST_CHECKPOINT
        checkpoint = load_checkpoint(path)
        warn_of_changed_plugin(checkpoint.plugin_sha256, path)
        return checkpoint.config, path
    path = run_dir / ".hydra" / "config.yaml"
    try:
        saved: Any = OmegaConf.to_container(OmegaConf.create(read_text(path)), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        reason = on_one_line(error)
        raise CheckpointError(f"{run_dir}: has neither a checkpoint nor a readable config ({reason})") from error
    if not isinstance(saved, dict):
        raise CheckpointError(f"{path}: not a run's config")
    return config_from_dict(saved, origin=str(path)), path


def warn_of_changed_plugin(recorded: str | None, origin: Path) -> None:
    """Warn if the plugin differs from the one that a run was trained with."""
    plugin = loaded_plugin()
    if recorded is not None and plugin is not None and plugin.sha256 != recorded:
        log.warning("%s: %s has changed since this run was trained", origin, plugin.path)
