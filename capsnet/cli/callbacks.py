"""What Hydra calls before a run: it gets a folder of its own."""

import contextlib
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, flag_override

from ..errors import ConfigError
from ..files import make_folder
from ..runs.folder import locked, new_folder, refuse_foreign_files
from ..sweeps.plan import as_typed, is_given
from ..training.launch_environment import started_by_launcher
from .program import one_line_errors


class ClaimFolder(Callback):
    """Gives each run a folder of its own, also if two start in the same second. A sweep's is made by its sweeper."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with one_line_errors():  # Hydra would only log what a callback raises
            _refuse_chdir(config)
            folder = Path(config.hydra.run.dir)
            if started_by_launcher():  # all its processes share the folder
                make_folder(folder)
            elif is_given("hydra.run.dir", as_typed(config.hydra.overrides.hydra)):
                refuse_foreign_files(folder)
                make_folder(folder)
                self.claim = contextlib.ExitStack()  # until the process ends, so that no other run starts here
                self.claim.enter_context(locked(folder))
            else:
                with flag_override(config, "readonly", False):
                    config.hydra.run.dir = str(new_folder(folder))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with one_line_errors():
            _refuse_chdir(config)


def _refuse_chdir(config: DictConfig) -> None:
    if config.hydra.job.chdir:
        raise ConfigError("hydra.job.chdir=true: relative paths would mean another folder in each run; leave it out")
