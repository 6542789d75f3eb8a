"""Composing a config with Hydra: registering the options of every group, and explaining Hydra's errors in one line."""

import dataclasses
import sys
from pathlib import Path
from typing import Any, get_type_hints

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ..errors import ConfigError, PluginError
from ..settings.config import COMBINABLE, OPTIONS, Config, fields_of, settings_of, suits_of
from ..settings.foreign import SECTIONS
from ..settings.parse import explain, flat, quoted
from ..settings.plugins import load_plugin
from ..text import either
from . import CONFIGS
from .arguments import is_config_dir
from .help import option_names

PATH_KEYS = ("data.root", "data.cache", "plugin")  # of which no value is code to Hydra, but for a sweep's commas

LAUNCHER_PACKAGES = {"joblib": "hydra-joblib-launcher", "submitit_slurm": "hydra-submitit-launcher"}
"""Options of hydra/launcher that come with an optional package."""


def prepare_hydra(arguments: list[str]) -> None:
    """Read the plugin that the command line names, and tell Hydra about all options.

    Raises:
        ConfigError: an argument removes a setting.
        PluginError: the plugin cannot be used.
    """
    for argument in arguments:
        if argument.startswith("~") and not argument.startswith("~hydra"):
            raise ConfigError(f"{argument}: a setting cannot be removed; leave it out to get its default")
        if argument.startswith("plugin=") and argument != "plugin=null":
            load_plugin(argument.partition("=")[2].strip("'\""))
            _refuse_names_of_presets(argument)
    _register_options()


def _refuse_names_of_presets(plugin: str) -> None:
    """Raise PluginError if Hydra would take a file of ours for one of the plugin's options."""
    for group, options in COMBINABLE.items():
        for name in options:
            if (CONFIGS / group / f"{name}.yaml").exists():
                raise PluginError(
                    f"{plugin}: OPTIONS[{group!r}][{name!r}]: {group}={name} exists already; choose another name"
                )


def with_quoted_paths(arguments: list[str]) -> list[str]:
    """The same arguments with quotes around paths that Hydra cannot read, such as ~/pictures or My Photos (2024).

    A path with a comma is left alone: it may be several, for a sweep.
    """
    return [_with_quoted_path(argument) for argument in arguments]


def _with_quoted_path(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if key.lstrip("+") not in PATH_KEYS or not value or "," in value:
        return argument
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return f"{key}{equals}{quoted(value)}"
    return argument


def _register_options() -> None:
    """Store the defaults of every option, which configs/config.yaml merges with the option's YAML file, and what suits
    it, which that file includes.

    They are stored as plain values. Types and ranges are checked after composing, with better messages than Hydra's.
    """
    store = ConfigStore.instance()
    hints = get_type_hints(Config)
    common: dict[str, Any] = {}
    for entry in dataclasses.fields(Config):
        if dataclasses.is_dataclass(section := hints[entry.name]) and entry.name not in OPTIONS:
            common[entry.name] = {field.name: field.default for field in settings_of(section)}
        elif entry.name in SECTIONS:
            common[entry.name] = {}  # filled by the YAML files that are chosen
        elif entry.name not in OPTIONS:
            common[entry.name] = entry.default
    store.store(group="settings", name="common", package="_global_", node=common)
    for group, options in OPTIONS.items():
        for name in options:
            defaults = {field.name: _default(field) for _, field in fields_of(group, name)}
            store.store(group=f"settings/{group}", name=name, node={"name": name, **defaults})
            store.store(group=f"suits/{group}", name=name, node=_suits_node(group, name))
            if not (CONFIGS / group / f"{name}.yaml").exists():  # a plugin's option
                node = {"defaults": [{f"/suits/{group}@_global_": name}], "name": name}
                store.store(group=group, name=name, node=node)
    for group, options in COMBINABLE.items():
        for name, option in options.items():
            defaults = {field.name: _default(field) for field in dataclasses.fields(option)}
            store.store(group=group, name=name, node={name: defaults})


def _suits_node(group: str, name: str) -> DictConfig:
    """What suits an option, as a config that Hydra merges into the whole one."""
    suits = suits_of(group, name)
    node = OmegaConf.create({"defaults": [{f"override /{key}": suits[key]} for key in suits if key in OPTIONS]})
    for key in suits.keys() - OPTIONS.keys():
        OmegaConf.update(node, key, suits[key])
    return node


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return MISSING if field.default is dataclasses.MISSING else field.default


def default_run_dir() -> Path:
    """The folder for a run that starts now, as configs/config.yaml has it."""
    setup_globals()  # so that OmegaConf knows ${now:...}
    return Path(OmegaConf.load(CONFIGS / "config.yaml").hydra.run.dir)


def compose_foreign(arguments: list[str], run_dir: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The sections `logger` and `callbacks`, as the arguments of a command that continues a run choose them anew.

    Args:
        arguments: of the command line.
        run_dir: the folder that the YAML files mean by ${hydra:runtime.output_dir}.

    Returns:
        The sections that are chosen, by name, and the arguments that have nothing to do with them.
    """
    chosen = [argument for argument in arguments if argument.lstrip("+").partition("=")[0].split(".")[0] in SECTIONS]
    others = [argument for argument in arguments if argument not in chosen and not is_config_dir(argument)]
    if not chosen:
        return {}, others
    folders = [str(Path(argument.partition("=")[2]).absolute()) for argument in arguments if is_config_dir(argument)]
    search = [f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in folders)}]"] if folders else []
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = hydra.compose("config", [*chosen, *search], return_hydra_config=True)
    except HydraException as error:
        raise ConfigError(explain_hydra(error)) from error
    with open_dict(composed):
        composed.hydra.runtime.output_dir = str(run_dir.absolute())
    HydraConfig.instance().set_config(composed)
    groups = dict.fromkeys(argument.lstrip("+").partition("=")[0].split(".")[0] for argument in chosen)
    return {group: OmegaConf.to_container(composed[group], resolve=True) for group in groups}, others


def explain_hydra(error: Exception) -> str:
    """What an error of Hydra's says, in one line."""
    if isinstance(error, MissingConfigException):
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        if option in LAUNCHER_PACKAGES:
            return f"{group}: needs another package: pip install {LAUNCHER_PACKAGES[option]}"
        group = group.removeprefix("settings/")
        options = error.options or sorted(option_names(group))  # Hydra lists none for one of several
        return f"{group}={option}: no such option; choose {either(options)}" if options else flat(str(error))
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        key = str(cause.full_key)
        typed = [argument for argument in sys.argv[1:] if argument.lstrip("+~").startswith((f"{key}=", f"{key}."))]
        return explain(cause, override=typed[-1] if typed else None)
    override = getattr(error, "override", None)
    return f"{override}: {flat(str(error))}" if override else flat(str(error) or str(cause))
