"""The config that a run was trained with, read back from its folder."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ..errors import CheckpointError
from ..files import make_folder
from ..settings.config import Config, as_dict
from ..settings.parse import config_from_dict
from ..settings.plugins import loaded_plugin
from .folder import LAST_CHECKPOINT, RECORD_FILE
from .record import read_record

log = logging.getLogger(__name__)


def saved_config(run_dir: Path, overrides: dict[str, str | None]) -> tuple[Config, Config]:
    """A run's config as it was saved, and with settings replaced.

    The last checkpoint has it, with what earlier resumptions changed. Of a run without a checkpoint, the record has it.

    Args:
        run_dir: the run's folder.
        overrides: settings by dotted key.

    Raises:
        CheckpointError: the checkpoint cannot be read, or there is neither a checkpoint nor a config in the record.
        ConfigError: the config, or an override, is not valid.
    """
    before, origin = _read(run_dir)
    return before, config_from_dict(as_dict(before), overrides, origin=str(origin))


def save_config(run_dir: Path, config: Any, overrides: list[str]) -> None:
    """Write .hydra/ into a run's folder, as Hydra does at the start of a run: the config, and the overrides."""
    folder = run_dir / ".hydra"
    make_folder(folder)
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    OmegaConf.save(OmegaConf.create(overrides), folder / "overrides.yaml")


def _read(run_dir: Path) -> tuple[Config, Path]:
    """A run's config, and the file that it is from."""
    if (path := run_dir / LAST_CHECKPOINT).exists():
        from .checkpoints import load_checkpoint  # loads torch

        checkpoint = load_checkpoint(path)
        warn_of_changed_plugin(checkpoint.plugin_sha256, path)
        return checkpoint.config, path
    config, path = read_record(run_dir).get("config"), run_dir / RECORD_FILE
    if config is None:
        raise CheckpointError(f"{path}: has no settings, since the run ended before it began to train")
    return config_from_dict(config, origin=str(path)), path


def warn_of_changed_plugin(recorded: str | None, origin: Path) -> None:
    """Warn if the plugin differs from the one that a run was trained with."""
    plugin = loaded_plugin()
    if recorded is not None and plugin is not None and plugin.sha256 != recorded:
        log.warning("%s: %s has changed since this run was trained", origin, plugin.path)
