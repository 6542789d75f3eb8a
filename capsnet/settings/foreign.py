"""Loggers and callbacks that a YAML file names by `_target_`: `logger=[tensorboard,mlflow] callbacks=[lr,mine]`.

They are other people's code. `instantiated` is for a config that this process has composed, from the command line and
the YAML files that it names. A config from a checkpoint or a run's folder keeps these sections as plain data.
"""

import dataclasses
from typing import Any

from omegaconf import OmegaConf

from ..errors import ConfigError
from ..text import on_one_line
from .setting import Setting

SECTIONS = ("logger", "callbacks")
BUILT_IN_LOGGERS = ("tensorboard", "csv")
"""Made by the runner itself, without a `_target_`; so a run that is resumed has them again."""

PACKAGES = {"MLFlowLogger": "mlflow", "WandbLogger": "wandb", "RichProgressBar": "rich"}
"""What classes of Lightning's need beside Lightning."""


def section(help: str, *default: str) -> Any:
    """A field of the config that is {name: {...}}, not checked against a dataclass; by default, with these names."""
    known = Setting(help, trained=False, evaluated=False, hyperparameter=False)
    return dataclasses.field(default_factory=lambda: {name: {} for name in default}, metadata={"setting": known})


def check_sections(config: Any) -> None:
    """Raise ConfigError unless every logger and callback has the form {name: {_target_: ..., arguments}}."""
    for group in SECTIONS:
        for name, entry in getattr(config, group).items():
            if not isinstance(entry, dict):
                raise ConfigError(f"{group}.{name}: its YAML file must say NAME: {{_target_: CLASS, arguments}}")
            if group == "logger" and name in BUILT_IN_LOGGERS:
                if entry:
                    raise ConfigError(f"logger.{name}.{next(iter(entry))}: no such key; logger={name} has no settings")
            elif not isinstance(entry.get("_target_"), str):
                raise ConfigError(f"{group}.{name}: its YAML file must say what to make, as _target_: CLASS")


def with_target(config: Any, group: str) -> dict[str, dict[str, Any]]:
    """The entries of a section that are other people's code."""
    return {name: entry for name, entry in getattr(config, group).items() if "_target_" in entry}


def instantiated(config: Any) -> dict[str, list[Any]]:
    """What a freshly composed config names: arguments `callbacks`, `loggers` and `foreign` of `training.run.train`.

    Raises:
        ConfigError: one cannot be made.
    """
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger

    made: dict[str, list[Any]] = {}
    for group, kind in (("logger", Logger), ("callbacks", Callback)):
        made[group] = [_made(group, name, entry, kind) for name, entry in with_target(config, group).items()]
    targets = [entry["_target_"] for group in SECTIONS for entry in with_target(config, group).values()]
    if (optimizer := getattr(config.optimizer, "_target_", None)) is not None:
        targets.append(optimizer)
    return {"callbacks": made["callbacks"], "loggers": made["logger"], "foreign": targets}


def _made(group: str, name: str, entry: dict[str, Any], kind: type) -> Any:
    from hydra.utils import instantiate

    try:
        made = instantiate(entry, _convert_="all")
    except Exception as error:
        package = PACKAGES.get(entry["_target_"].rpartition(".")[2])
        if package is not None and isinstance(error.__cause__, ImportError):
            raise ConfigError(f"{group}={name}: needs another package: pip install {package}") from error
        reason = on_one_line(error.__cause__ or error)[:300]
        if isinstance(error.__cause__, ImportError):
            reason += "; a file of yours has to be in a folder of PYTHONPATH, or beside your plugin"
        raise ConfigError(f"{group}={name}: {reason}") from error
    if not isinstance(made, kind):
        raise ConfigError(f"{group}={name}: {entry['_target_']} makes no {kind.__name__} of Lightning's")
    return made


def given_again(config: Any) -> str | None:
    """What has to be said of a config from a run's folder that names other people's code; None if it does not."""
    named = {group: list(with_target(config, group)) for group in SECTIONS}
    words = [f"{group}=[{','.join(names)}]" for group, names in named.items() if names]
    return f"Not started from a saved config; if you want it, give {' '.join(words)} again" if words else None


def _runs_folder() -> str:
    """The folder of the sweep, or of the single run, that Hydra is running."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    job = HydraConfig.get()
    return str(job.sweep.dir if job.mode == RunMode.MULTIRUN else job.runtime.output_dir)


OmegaConf.register_new_resolver("capsnet.folder", _runs_folder, replace=True)
