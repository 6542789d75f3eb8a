"""Composing a config with Hydra, for the command line and for Python, and explaining Hydra's errors in one line."""

import contextlib
import dataclasses
import importlib.resources
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, MissingConfigException
from hydra.initialize import get_gh_backup, restore_gh_from_backup
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ..errors import ConfigError, PluginError
from . import CONFIGS
from .config import ALL_OPTIONS, COMBINABLE, OPTIONS, Config, fields_of, settings_of, suits_of
from .foreign import SECTIONS
from .hints import CALLBACKS
from .parse import config_from_omegaconf, explain, flat, options_hint, quoted
from .plugins import load_plugin, named_plugin

PATH_KEYS = ("data.root", "data.cache", "data.labels", "plugin", "init")
"""Whose values are no code to Hydra, but for a sweep's commas."""
EXPRESSION_KEY = "data.group"  # whose value is not even that: commas are common in regular expressions

LAUNCHER_PACKAGES = {"joblib": "hydra-joblib-launcher", "submitit_slurm": "hydra-submitit-launcher"}
"""Options of hydra/launcher that come with an optional package."""


def compose(*overrides: str, config_dirs: Sequence[str | Path] = ()) -> Config:
    """The settings that the command line would have, so with what suits each network.

    Args:
        overrides: as on the command line, such as "model=efficient_capsnet", "routing.iters=3".
        config_dirs: folders with more YAML files, as `--config-dir`.

    Raises:
        ConfigError: an override is wrong.
        PluginError: the plugin that they name cannot be used.
    """
    with composed(overrides, config_dirs) as config:
        return config_from_omegaconf(without_hydra(config))


@contextlib.contextmanager
def composed(
    overrides: Sequence[str], config_dirs: Sequence[str | Path] = (), run_dir: Path | None = None
) -> Iterator[DictConfig]:
    """What Hydra composes from overrides, with its own section `hydra`. It may be called from within a Hydra program.

    Args:
        overrides: as on the command line.
        config_dirs: folders with more YAML files.
        run_dir: the folder that YAML files mean by ${hydra:runtime.output_dir}; None: the one that the config says.

    Raises:
        ConfigError, PluginError: as `compose`.
    """
    arguments = with_quoted_paths(list(overrides))
    prepare_hydra(arguments, config_dirs)
    folders = ",".join(quoted(f"file://{Path(folder).absolute()}") for folder in config_dirs)
    search = [f"hydra.searchpath=[{folders}]"] if folders else []
    kept, kept_config = get_gh_backup(), HydraConfig.instance().cfg
    try:
        GlobalHydra.instance().clear()
        with _explained(arguments), hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = hydra.compose("config", [*arguments, *search], return_hydra_config=True)
            with open_dict(config):
                config.hydra.runtime.output_dir = str((run_dir or Path(config.hydra.run.dir)).absolute())
                config.hydra.overrides.task = list(overrides)
        HydraConfig.instance().set_config(config)
        yield config
    finally:
        HydraConfig.instance().cfg = kept_config
        restore_gh_from_backup(kept)


@contextlib.contextmanager
def _explained(arguments: Sequence[str]) -> Iterator[None]:
    """Make errors of Hydra and OmegaConf into one line each."""
    try:
        yield
    except HydraException as error:
        raise ConfigError(explain_hydra(error, arguments)) from error
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error


def without_hydra(config: DictConfig) -> DictConfig:
    """What was composed, without Hydra's own section."""
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def prepare_hydra(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> None:
    """Read the plugin that is named, and tell Hydra about all options, those of the person's YAML files included.

    Args:
        overrides: as on the command line.
        config_dirs: folders with more YAML files, beside those in hydra.searchpath.

    Raises:
        ConfigError: an argument removes a setting, or a YAML file does not say which option it changes.
        PluginError: the plugin cannot be used.
    """
    folders = [Path(folder) for folder in config_dirs]
    for override in overrides:
        if override.startswith("~") and not override.startswith("~hydra"):
            raise ConfigError(f"{override}: a setting cannot be removed; leave it out to get its default")
        key, _, value = override.lstrip("+").partition("=")
        if value == "null" and (CONFIGS / key).is_dir():
            instead = f"write {key}=none" if "none" in option_names(key) else "leave it out"
            raise ConfigError(f"{override}: {instead}")
        if (plugin := named_plugin(override)) is not None:
            load_plugin(plugin)
            _refuse_names_of_presets(override)
        if override.lstrip("+").startswith("hydra.searchpath="):
            folders += _search_path(override)
    _register_options()
    _unusable.clear()
    for folder in folders:
        _register_files(folder)


def _search_path(override: str) -> list[Path]:
    """The folders in hydra.searchpath=[file://FOLDER,pkg://PACKAGE]."""
    with _explained([override]):
        given = OverridesParser.create().parse_override(override).value()
    folders = []
    for place in map(str, given if isinstance(given, list) else [given]):
        kind, separator, path = place.rpartition("://")
        if kind == "pkg":
            package, *inner = path.replace("/", ".").split(".")
            folders.append(Path(str(importlib.resources.files(package))).joinpath(*inner))
        elif kind == "file" or not separator:
            folders.append(Path(path))
    return folders


_unusable: dict[str, str] = {}
"""Why a person's YAML file is no option, by group/name: said if it is chosen."""


def _register_files(folder: Path) -> None:
    """Store the defaults of the options that a person's YAML files change, in the groups of which one is chosen."""
    for group, options in OPTIONS.items():
        for file in sorted((folder / group).glob("*.yaml")):
            if file.stem in options:
                continue
            if (base := _changed_option(file, group)) is None:
                first = next(iter(options))
                _unusable[f"{group}/{file.stem}"] = (
                    f"{file}: must begin with the option that it changes, as in  defaults: [{first}]"
                )
                continue
            node = {field.name: _default(field) for _, field in fields_of(group, base)}
            ConfigStore.instance().store(group=f"settings/{group}", name=file.stem, node={"name": base, **node})
            _store_suits(group, file.stem, base)


def _changed_option(file: Path, group: str, included_by: tuple[Path, ...] = ()) -> str | None:
    """The option that a YAML file changes: the one in its defaults list, or that of a file beside it which is there; or
    its name, as the project's own files have it. None if it says none. Raises ConfigError if the file cannot be read.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())[:200]})") from error
    content = content if isinstance(content, dict) else {}
    included = content.get("defaults", [])
    bases = [entry for entry in included if isinstance(entry, str)] if isinstance(included, list) else []
    for base in [*bases, str(content.get("name"))]:
        if base in OPTIONS[group]:
            return base
        beside = file.with_name(f"{base}.yaml")
        if beside not in (file, *included_by) and beside.is_file():
            return _changed_option(beside, group, (file, *included_by))
    return None


def _refuse_names_of_presets(plugin: str) -> None:
    """Raise PluginError if Hydra would take a file of ours for one of the plugin's options."""
    for group, options in COMBINABLE.items():
        for name in options:
            if (CONFIGS / group / f"{name}.yaml").exists():
                raise PluginError(
                    f"{plugin}: OPTIONS[{group!r}][{name!r}]: {group}={name} exists already; choose another name"
                )


def with_quoted_paths(arguments: list[str]) -> list[str]:
    """The same arguments with quotes around paths and regular expressions that Hydra cannot read, such as ~/pictures or
    My Photos (2024).

    A path with a comma is left alone: it may be several, for a sweep.
    """
    return [_with_quoted_path(argument) for argument in arguments]


def _with_quoted_path(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if key.lstrip("+") == EXPRESSION_KEY and not value.startswith(("'", '"')) and value != "null":
        return f"{key}{equals}{quoted(value)}"
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
            common[entry.name] = _default(entry)
    store.store(group="settings", name="common", package="_global_", node=common)
    for group, options in OPTIONS.items():
        for name in options:
            defaults = {field.name: _default(field) for _, field in fields_of(group, name)}
            store.store(group=f"settings/{group}", name=name, node={"name": name, **defaults})
            _store_suits(group, name, name)
            if not (CONFIGS / group / f"{name}.yaml").exists():  # a plugin's option
                node = {"defaults": [{f"/suits/{group}@_global_": name}], "name": name}
                store.store(group=group, name=name, node=node)
    for group, options in COMBINABLE.items():
        for name, option in options.items():
            defaults = {field.name: _default(field) for field in dataclasses.fields(option)}
            store.store(group=group, name=name, node={name: defaults})


def _store_suits(group: str, name: str, base: str) -> None:
    """Store what suits an option: other options, which its YAML file includes, and keys, which any file may replace.

    Args:
        group: of the option.
        name: of the option, or of a YAML file that changes it.
        base: the option.
    """
    suits = suits_of(group, base)
    chosen = OmegaConf.create({"defaults": [{f"override /{key}": suits[key]} for key in suits if key in OPTIONS]})
    keys = OmegaConf.create()
    for key in suits.keys() - OPTIONS.keys():
        OmegaConf.update(keys, key, suits[key])
    ConfigStore.instance().store(group=f"suits/{group}", name=name, node=chosen)
    ConfigStore.instance().store(group=f"suited/{group}", name=name, node=keys)


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return MISSING if field.default is dataclasses.MISSING else field.default


def default_run_dir() -> Path:
    """The folder for a run that starts now, as configs/config.yaml has it."""
    setup_globals()  # so that OmegaConf knows ${now:...}
    config = OmegaConf.load(CONFIGS / "config.yaml")
    config.name = None
    return Path(config.hydra.run.dir)


def compose_foreign(
    overrides: Sequence[str], config_dirs: Sequence[str | Path], run_dir: Path
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The sections `logger` and `callbacks`, as a command that continues a run chooses them anew.

    Args:
        overrides: of the command line.
        config_dirs: folders with more YAML files.
        run_dir: the folder that the YAML files mean by ${hydra:runtime.output_dir}.

    Returns:
        The sections that are chosen, by name, and the overrides that have nothing to do with them.
    """
    chosen = [override for override in overrides if _group_of(override) in SECTIONS]
    others = [override for override in overrides if override not in chosen]
    if not chosen:
        return {}, others
    with composed(chosen, config_dirs, run_dir) as config:
        groups = dict.fromkeys(map(_group_of, chosen))
        return {group: OmegaConf.to_container(config[group], resolve=True) for group in groups}, others


def _group_of(override: str) -> str:
    """The first part of an override's key."""
    return override.lstrip("+").partition("=")[0].split(".")[0]


def explain_hydra(error: Exception, arguments: Sequence[str]) -> str:
    """What an error of Hydra's says, in one line.

    Args:
        error: of Hydra.
        arguments: that it was given.
    """
    if isinstance(error, MissingConfigException):
        missing = str(error.missing_cfg_file).rstrip("/")
        folder = missing.removeprefix("data/")
        if folder != missing and Path(folder).is_dir():
            return f"data={folder}: no such option; for pictures in a folder, data=folder data.root={folder}"
        if reason := _unusable.get(missing.removeprefix("settings/").removeprefix("suited/")):
            return reason
        group, _, option = missing.rpartition("/")
        if not group:
            return f"--config-name={option}: there is no such file"
        if option in LAUNCHER_PACKAGES:
            return f"{group}: needs another package: pip install {LAUNCHER_PACKAGES[option]}"
        group = group.removeprefix("settings/")
        options = error.options or sorted(option_names(group))  # Hydra lists none for one of several
        if group == "callbacks" and option in CALLBACKS:
            return f"{group}={option}: no such option; {CALLBACKS[option]}"
        if not options:
            return flat(str(error))
        given = option + str(error.missing_cfg_file).removeprefix(missing)  # a slash, as behind the name of a folder
        return f"{group}={given}: no such option; {options_hint(group, option, options)}"
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key and not str(cause.full_key).startswith("hydra."):
        key = str(cause.full_key)
        typed = [argument for argument in arguments if argument.lstrip("+~").startswith((f"{key}=", f"{key}."))]
        return explain(cause, override=typed[-1] if typed else None)
    override = getattr(error, "override", None)
    if str(error).startswith("Ambiguous value"):
        typed = next((argument for argument in arguments if f"'{argument}'" in str(error)), "")
        key, _, value = typed.partition("=")
        return f"{typed}: several values are a sweep: add -m; a list is {key}=[{value}]"
    if swept := re.match(r"Sweep parameters '(.*)' requires --multirun", str(error)):
        return f"{swept[1]}: several values are a sweep: add -m"
    if appended := re.search(r"Either remove \+ prefix: '(.*)'", str(error)):
        return f"+{appended[1]}: leave out the +: {appended[1]}"
    return f"{override}: {flat(str(error))}" if override else flat(str(error) or str(cause))


def option_names(group: str) -> set[str]:
    """What can be chosen by GROUP=NAME."""
    return {file.stem for file in (CONFIGS / group).glob("*.yaml")} | set(ALL_OPTIONS.get(group, ()))


OmegaConf.register_new_resolver("capsnet.suffix", lambda name: f"_{name}" if name else "", replace=True)
