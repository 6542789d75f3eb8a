"""Training from Python, in a script or a notebook: what the command line does, with the same settings.

run = capsnet.train("data=kmnist_7k", "routing.iters=3")
run.folder, run.results["metrics"]["test/accuracy"], run.network
"""

import contextlib
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import OmegaConf, flag_override
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from .errors import ConfigError
from .files import make_folder
from .runs.folder import new_folder, refuse_foreign_files, removed_unless_started
from .runs.record import read_record
from .runs.saved_config import save_config
from .runs.trained import TrainedModel, load
from .settings.composing import composed, without_hydra
from .settings.foreign import instantiated
from .settings.parse import config_from_omegaconf
from .sweeps.plan import is_given
from .training import run as runner

SINGLE_RUN = ("resume", "rerun", "refit")
_SETTING = re.compile(r"[+~]*[\w./@]+=[^'\"=]*")


@dataclass
class Run:
    """A finished training."""

    folder: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        """The content of results.json: `results["metrics"]["test/accuracy"]`, `results["epochs"]`, ..."""
        return read_record(self.folder)

    @cached_property
    def model(self) -> TrainedModel:
        """The best epoch's network, with `predict(images)`, on the GPU if there is one."""
        return load(self.folder)

    @property
    def network(self) -> nn.Module:
        """The best epoch's network."""
        return self.model.network


def train(
    *overrides: str,
    callbacks: Callback | Sequence[Callback] = (),
    logger: Logger | Sequence[Logger] = (),
    config_dir: str | Path | None = None,
) -> Run:
    """Train a network as `capsnet train` does, and test its best epoch. Everything is left in a new folder.

    Args:
        overrides: as on the command line, such as "data=kmnist_7k", "model=efficient_capsnet", "routing.iters=3".
        callbacks: more Lightning callbacks, beside the runner's own.
        logger: more Lightning loggers, beside those that `logger=NAME` chooses.
        config_dir: a folder with more YAML files.

    Raises:
        ConfigError: a setting is wrong, or not available here.
        DataError: the dataset cannot be read.
        DivergedError: the loss became NaN or infinite.
        KeyboardInterrupt: it was interrupted; `capsnet train resume=FOLDER` continues it.
    """
    callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    loggers = [logger] if isinstance(logger, Logger) else list(logger)
    for name, kind, given in (("callbacks", Callback, callbacks), ("logger", Logger, loggers)):
        if not all(isinstance(one, kind) for one in given):
            raise ConfigError(f"{name}: takes Lightning's objects; options are chosen by name, as in '{name}=NAME'")
    for override in overrides:
        if len(several := override.split()) > 1 and all(_SETTING.fullmatch(one) for one in several):
            separate = ", ".join(f'"{one}"' for one in several)
            raise ConfigError(f"{override}: give each setting by itself: {separate}")
        if override.partition("=")[0] in SINGLE_RUN or override.startswith("-"):
            raise ConfigError(f"{override}: only the command line does this: capsnet train {override}")
    with composed(overrides, [config_dir] if config_dir is not None else []) as config:
        if config.hydra.mode == RunMode.MULTIRUN:
            raise ConfigError(f"{' '.join(overrides)}: is a sweep; run it by: capsnet train {' '.join(overrides)}")
        if config.hydra.job.chdir:
            raise ConfigError("hydra.job.chdir=true: relative paths would mean another folder; leave it out")
        folder = Path(config.hydra.run.dir)
        if is_given("hydra.run.dir", overrides):
            refuse_foreign_files(folder)
            make_folder(folder)
        else:
            folder = new_folder(folder)
        with removed_unless_started(folder):
            with flag_override(config.hydra, "readonly", False):
                config.hydra.runtime.output_dir = str(folder.absolute())
            typed = config_from_omegaconf(without_hydra(config))
            if callbacks and isinstance(typed.trainer.devices, int) and typed.trainer.devices > 1:
                raise ConfigError("callbacks: with several processes, name them in YAML files, by callbacks=NAME")
            made = instantiated(typed)
            made["callbacks"] += callbacks
            made["loggers"] += loggers
            made["foreign"] += [f"{type(one).__module__}.{type(one).__qualname__}" for one in [*callbacks, *loggers]]
            save_config(folder, OmegaConf.to_container(without_hydra(config)), list(overrides))
            with _lines_shown():
                results = runner.train(typed, folder, list(overrides), **made)
    if results.status == "interrupted":
        raise KeyboardInterrupt
    return Run(folder)


@contextlib.contextmanager
def _lines_shown() -> Iterator[None]:
    """Print what is logged, as the command line does, unless the caller's own logging shows it."""
    ours, root = logging.getLogger("capsnet"), logging.getLogger()
    level, handler = ours.level, logging.StreamHandler(sys.stdout)
    shows = not any(handler.level <= logging.INFO for handler in root.handlers)
    ours.setLevel(logging.INFO)
    if shows:
        ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)
