"""From YAML, overrides or a saved dictionary to a checked `Config`, with errors that say what is wrong."""

import dataclasses
import difflib
from functools import cache
from typing import Any, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from ..errors import ConfigError, PluginError
from ..text import either
from .config import OPTIONS, SHARED, Config, check, fields_of, suits_of
from .setting import AS_SAVED, setting_of
from .trainer import NO_EFFECT

DEFAULT_OPTIONS = {group: next(iter(options)) for group, options in OPTIONS.items()}


def config_from_omegaconf(composed: DictConfig) -> Config:
    """Turn a config that Hydra composed into a typed one. Raises ConfigError."""
    try:
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(values, dict)
    config = _typed_config(values, {})
    check(config)
    return config


def config_from_dict(saved: dict[str, Any], overrides: dict[str, str | None] | None = None, origin: str = "") -> Config:
    """The typed config in a saved dictionary, with some settings replaced.

    Nothing is downloaded because a saved config asks for it: `data.download` and `data.mirror` count only in overrides.
    A plugin is not read because a saved config names it: the command line must name it, too.

    Args:
        saved: nested plain values, as `config.as_dict` gives them. What is missing takes what suits the options, or its
            default, as on the command line.
        overrides: values by dotted key, or by group to choose another of its options.
        origin: the file that the dictionary is from, for errors.

    Raises:
        ConfigError: a key or value is wrong.
        PluginError: an option comes from a plugin that was not given.
    """
    if _has_interpolation(saved):  # resolving it could read environment variables
        raise ConfigError(f"{origin or 'config'}: its config contains ${{...}}, which is not allowed in a saved config")
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in saved.items()}
    plugin = values.pop("plugin", None)
    _stay_inside(values)
    settings = dict(overrides or {})
    for group in OPTIONS:
        for key in (group, f"{group}.name"):
            if key in settings:
                _choose_option(values, group, key, settings.pop(key))
    try:
        config = _typed_config(values, settings, origin)
    except _UnknownOptionError as error:
        if plugin is None:
            raise ConfigError(f"{origin}: {error}" if origin else str(error)) from error
        raise PluginError(f"{origin}: add plugin={plugin}, which defines {error.group}={error.option}") from error
    check(config)
    return config


def _stay_inside(values: dict[str, Any]) -> None:
    """Replace the settings by which a saved config would reach out of its run's folder."""
    for group in OPTIONS:
        section = values.setdefault(group, {})
        name = section.get("name", DEFAULT_OPTIONS[group]) if isinstance(section, dict) else None
        if isinstance(name, str) and name in OPTIONS[group]:
            replaced = {field.name: setting_of(field).when_saved for _, field in fields_of(group, name)}
            section.update({key: value for key, value in replaced.items() if value is not AS_SAVED})


class _UnknownOptionError(ConfigError):
    """A group names an option that does not exist."""

    def __init__(self, group: str, option: Any, key: str | None = None):
        given = "null" if option is None else option
        super().__init__(f"{key or group}={given}: no such option; choose {either(OPTIONS[group])}")
        self.group, self.option = group, option


def _choose_option(values: dict[str, Any], group: str, key: str, name: str | None) -> None:
    """Replace a group's option in a saved config; values that the new one does not have are dropped."""
    if name not in OPTIONS[group]:
        raise _UnknownOptionError(group, name, key)
    known = {field.name for _, field in fields_of(group, name)}
    section = values.get(group)
    kept = {key: value for key, value in section.items() if key in known} if isinstance(section, dict) else {}
    values[group] = {"name": name, **kept}


def _typed_config(values: dict[str, Any], overrides: dict[str, str | None], origin: str = "") -> Config:
    names = _choose_what_suits(values)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(_schema(**names)), values)
    except OmegaConfBaseException as error:
        message = explain(error, names, values)
        raise ConfigError(
            f"{origin}: its config does not fit this version: {message}" if origin else message
        ) from error
    assert isinstance(merged, DictConfig)
    for key, value in overrides.items():
        _set(merged, key, value, names)
    try:
        typed = OmegaConf.to_object(merged)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: needs a value") from error
    sections = {entry.name: getattr(typed, entry.name) for entry in dataclasses.fields(Config)}
    return Config(**sections | {group: _section(group, name, sections[group]) for group, name in names.items()})


def _choose_what_suits(values: dict[str, Any]) -> dict[str, str]:
    """Add to a config what suits its options, where it does not say otherwise; gives the option of each group."""
    names = {}
    for group in OPTIONS:
        names[group] = _option_name(values, group)
        for other, option in suits_of(group, names[group]).items():
            if other in OPTIONS and isinstance(section := values.setdefault(other, {}), dict):
                section.setdefault("name", option)
    for group, name in names.items():
        for key, value in suits_of(group, name).items():
            other, _, field = key.rpartition(".")
            if not other or not isinstance(section := values.setdefault(other, {}), dict):
                continue
            owners = _owners(other, field)
            if not owners or names[other] in owners:
                section.setdefault(field, value)
            elif section.get(field) == value:  # Hydra has merged it in, but another optimizer, say, was chosen
                del section[field]
    return names


def _owners(group: str, name: str) -> list[str]:
    """The options of a group that have a setting of this name."""
    return [
        option for option in OPTIONS.get(group, ()) if name in {field.name for _, field in fields_of(group, option)}
    ]


def _option_name(values: dict[str, Any], group: str) -> str:
    section = values.get(group)
    name = section.get("name", DEFAULT_OPTIONS[group]) if isinstance(section, dict) else DEFAULT_OPTIONS[group]
    if not isinstance(name, str) or name not in OPTIONS[group]:
        raise _UnknownOptionError(group, name)
    return name


def _section(group: str, name: str, typed: Any) -> Any:
    """An option's dataclass, inside that of its group's shared settings if there are some."""

    option_class = OPTIONS[group][name]

    def values(owner: type) -> dict[str, Any]:
        names = [field.name for field in dataclasses.fields(owner)]
        return {name: getattr(typed, name) for name in names if owner is option_class or name != "source"}

    try:
        option = option_class(**values(option_class))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{group}={name}: {error}") from error
    return SHARED[group](source=option, **values(SHARED[group])) if group in SHARED else option


@cache
def _schema(**names: str) -> type:
    """A dataclass with the types and defaults of a config in which these options are chosen, for OmegaConf."""
    hints = get_type_hints(Config)
    entries = []
    for entry in dataclasses.fields(Config):
        if entry.name in OPTIONS:
            section = section_schema(entry.name, names[entry.name])
            entries.append((entry.name, section, dataclasses.field(default_factory=section)))
        elif dataclasses.is_dataclass(section := hints[entry.name]):
            entries.append((entry.name, section, dataclasses.field(default_factory=section)))
        else:
            entries.append((entry.name, section, dataclasses.field(default=entry.default)))
    return dataclasses.make_dataclass("ConfigSchema", entries)


def section_schema(group: str, name: str) -> type:
    """A dataclass with the name of an option and all its settings, those shared by its group included."""
    entries: list[Any] = [("name", str, dataclasses.field(default=name))]
    for owner, field in fields_of(group, name):
        if field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
        else:
            default = dataclasses.field(default=MISSING if field.default is dataclasses.MISSING else field.default)
        entries.append((field.name, get_type_hints(owner)[field.name], default))
    return dataclasses.make_dataclass(f"{OPTIONS[group][name].__name__}Schema", entries)


def _set(merged: DictConfig, key: str, value: str | None, names: dict[str, str]) -> None:
    if key in merged and isinstance(merged[key], DictConfig):
        raise ConfigError(f"{key}={value}: set its keys one by one, such as {key}.KEY=VALUE")
    try:
        parsed = yaml.safe_load(value) if isinstance(value, str) and _takes_any_type(merged, key) else value
        OmegaConf.update(merged, key, parsed, force_add=False)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}={value}: not a value that YAML understands") from error
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, names, override=f"{key}={'null' if value is None else value}")) from error


def _takes_any_type(merged: DictConfig, key: str) -> bool:
    """Is a setting's type Any? Its text then has to be read as YAML to find the type."""
    group, _, name = key.rpartition(".")
    section = OmegaConf.select(merged, group) if group else merged
    object_type = OmegaConf.get_type(section) if isinstance(section, DictConfig) else None
    return dataclasses.is_dataclass(object_type) and get_type_hints(object_type).get(name) is Any


def _has_interpolation(saved: Any) -> bool:
    if isinstance(saved, dict):
        return any(map(_has_interpolation, [*saved, *saved.values()]))
    if isinstance(saved, list | tuple):
        return any(map(_has_interpolation, saved))
    return isinstance(saved, str) and "${" in saved


def parse_values(arguments: list[str]) -> dict[str, str | None]:
    """KEY=VALUE arguments as a dictionary. Values are taken literally, so paths need no quotes; null is None.

    Raises:
        ConfigError: an argument does not have that form.
    """
    values: dict[str, str | None] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise ConfigError(f"{argument}: expected KEY=VALUE, such as run=RUN_DIR")
        values[key] = None if value == "null" else value
    return values


def quoted(text: str) -> str:
    """A text as a value in Hydra's override syntax."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def known_keys(names: dict[str, str]) -> list[str]:
    """Every key of a config in which these options are chosen."""
    hints = get_type_hints(Config)
    keys = []
    for entry in dataclasses.fields(Config):
        if entry.name in OPTIONS:
            fields = [field for _, field in fields_of(entry.name, names[entry.name])]
        elif dataclasses.is_dataclass(hints[entry.name]):
            fields = list(dataclasses.fields(hints[entry.name]))
        else:
            keys.append(entry.name)
            continue
        keys += [f"{entry.name}.{field.name}" for field in fields]
    return keys


def explain(
    error: OmegaConfBaseException,
    names: dict[str, str] | None = None,
    values: dict[str, Any] | None = None,
    override: str | None = None,
) -> str:
    """What an error of OmegaConf says about a setting, in one line.

    Args:
        error: from OmegaConf.
        names: the option chosen for each group.
        values: the nested values that were read.
        override: the argument that was wrong, such as routing.iters=many, if it is known.
    """
    key = override.split("=", 1)[0].lstrip("+~") if override else str(error.full_key or "")
    if key and isinstance(error, ConfigKeyError | ConfigAttributeError):
        return unknown_key(override or key, names or DEFAULT_OPTIONS)
    return f"{override or _assignment(key, values)}: {flat(str(error))}" if key else flat(str(error))


def _assignment(key: str, values: dict[str, Any] | None) -> str:
    """KEY=VALUE as it may have been typed, or the key alone if its value is unknown."""
    value: Any = values
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return key
        value = value[part]
    return f"{key}={'null' if value is None else value}"


def unknown_key(override: str, names: dict[str, str]) -> str:
    """Why there is no such key, and what may have been meant.

    Args:
        override: KEY or KEY=VALUE.
        names: the option chosen for each group.
    """
    key = override.split("=", 1)[0].lstrip("+~")
    group, _, name = key.partition(".")
    if group == "trainer" and name in NO_EFFECT:
        return f"{override}: does nothing here, since {NO_EFFECT[name]}"
    if owners := _owners(group, name):
        return f"{override}: belongs to {group}={either(owners)}, not to {group}={names[group]}"
    known = known_keys(names)
    siblings = [other.partition(".")[2] for other in known if other.startswith(f"{group}.")]
    groups = sorted({*OPTIONS, *(other.partition(".")[0] for other in known)})
    if name and group in groups:
        if not siblings:
            return f"{override}: no such key; {group}={names[group]} has no settings"
        near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
        hint = f"did you mean {group}.{near[0]}?" if near else f"{group} has {', '.join(siblings)}"
        return f"{override}: no such key; {hint}"
    near = difflib.get_close_matches(key, [*known, *groups], n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(groups)}"
    return f"{override}: no such key; {hint}"


def flat(text: str) -> str:
    """A message of Hydra or OmegaConf in one line, without their hints for developers."""
    noise = ("full_key:", "object_type=", "reference_type=", "Set the environment variable", "See https://hydra.cc")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith(noise))
