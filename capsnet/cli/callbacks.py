"""Hydra callbacks: they check a run before its folder is made, and give each run and sweep a folder of its own."""

import contextlib
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override

from ..errors import ConfigError
from ..files import make_folder
from ..runs.folder import locked, new_folder, refuse_foreign_files, refuse_outside_links
from ..settings.parse import config_from_omegaconf, quoted
from ..training.launch_environment import started_by_launcher
from .program import one_line_errors


class CheckConfig(Callback):
    """Checks a run's config before its folder is made."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with one_line_errors():
            sweep = config.hydra.runtime.choices.get("sweep")
            if sweep is not None:
                raise ConfigError(f"sweep={sweep}: add -m to run a sweep")
            config_from_omegaconf(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


class ClaimFolder(Callback):
    """Gives each run and sweep a folder of its own, also if two start in the same second."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with one_line_errors():
            if started_by_launcher():  # the first process claims the folder for all
                return
            if _is_given("hydra.run.dir", config):
                folder = Path(config.hydra.run.dir)
                refuse_foreign_files(folder)
                refuse_outside_links(folder)
                make_folder(folder)
                self.claim = contextlib.ExitStack()  # until the process ends, so that no other run starts here
                self.claim.enter_context(locked(folder))
                return
            folder = new_folder(Path(config.hydra.run.dir))
            with flag_override(config, "readonly", False):
                config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if _is_given("hydra.sweep.dir", config):
            return
        with one_line_errors():
            folder = new_folder(Path(config.hydra.sweep.dir))
            with flag_override(config, "readonly", False):
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")  # for the jobs


def _is_given(key: str, config: DictConfig) -> bool:
    return any(override.lstrip("+").startswith(f"{key}=") for override in config.hydra.overrides.hydra)
