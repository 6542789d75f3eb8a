"""From YAML, overrides or a saved dictionary to a checked `Config`, with errors that say what is wrong."""

import copy
import dataclasses
import difflib
import re
from collections.abc import Collection, Iterable
from typing import Any, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from ..errors import ConfigError, PluginError
from ..text import either
from .config import (
    ALL_OPTIONS,
    COMBINABLE,
    OPTIONS,
    SHARED,
    SINGLE,
    Config,
    check,
    check_new,
    fields_of,
    known_settings,
    section_class,
    settings_of,
    suits_of,
)
from .foreign import SECTIONS
from .hints import CALLBACKS, ELSEWHERE, of_other_projects
from .plugins import loaded_plugin
from .setting import AS_SAVED, setting_of
from .trainer import NO_EFFECT

DEFAULT_OPTIONS: dict[str, Any] = {group: next(iter(options)) for group, options in OPTIONS.items()} | {
    group: section_class(group).default for group in COMBINABLE
}
"""The option of each group that a config has without being told; of groups that combine several, a tuple."""

_WITH_KEYS = {*ALL_OPTIONS, *SINGLE, *SECTIONS}
"""The parts of a config that are sections."""

Values = dict[str, Any]
"""A config as nested plain values."""


class _SettingError(ConfigError):
    """A setting is unknown, or its value does not have the right type."""

    def __init__(self, key: str, message: str):
        super().__init__(message)
        self.key = key


class _UnknownOptionError(ConfigError):
    """A group names an option that does not exist."""

    def __init__(self, group: str, option: Any, key: str | None = None):
        given = "null" if option is None else option
        super().__init__(
            f"{key or group}={given}: no such option; {options_hint(group, str(given), ALL_OPTIONS[group])}"
        )
        self.group, self.option = group, option


def options_hint(group: str, given: str, options: Collection[str]) -> str:
    """What may have been meant by a name that is none of a group's options, or which there are."""
    if near := difflib.get_close_matches(given.lower(), options, n=1, cutoff=0.8):
        return f"did you mean {group}={near[0]}?"
    return f"choose {either(options)}" if options else "only a plugin adds options here"


def config_from_omegaconf(composed: DictConfig) -> Config:
    """Turn a config that Hydra composed into a typed one. Raises ConfigError."""
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    _check_form(values)
    _add_what_suits(values)
    config = _typed_config(values)
    check(config)
    check_new(config)
    if config.plugin is not None and loaded_plugin() is None:
        raise PluginError(f"plugin={config.plugin}: is read only if the command line names it: add it there")
    return config


def config_from_dict(saved: Values, overrides: dict[str, Any] | None = None, origin: str = "") -> Config:
    """The typed config in a saved dictionary, with some settings replaced.

    Nothing is downloaded, and no class is made, because a file asks for it: `data.download`, `data.mirror` and
    `optimizer._target_` of a dictionary with an `origin` do not count, but in overrides they do.
    A plugin is not read because a saved config names it: the command line must name it, too.

    Args:
        saved: nested plain values, as `config.as_dict` gives them. What is missing takes what suits the options, or its
            default, as on the command line.
        overrides: values by dotted key, or by group to choose another of its options, or several as [NAME,NAME].
        origin: the file that the dictionary is from, for errors. What is missing in a file takes its default: it did
            not exist yet when the file was written, so nothing suited the options.

    Raises:
        ConfigError: a key or value is wrong.
        PluginError: an option comes from a plugin that was not given.
    """
    if "${" in str(saved):  # resolving it could read environment variables
        raise ConfigError(f"{origin or 'config'}: its config contains ${{...}}, which is not allowed in a saved config")
    overrides = overrides or {}
    values = copy.deepcopy(saved)
    plugin = values.pop("plugin", None)
    try:
        _check_form(values)
        if origin:
            _stay_inside(values)
        for key, value in sorted(overrides.items(), key=lambda item: "." in item[0].removesuffix(".name")):
            _replace(values, key, value)  # options first, then their settings
        if not origin:
            _add_what_suits(values)
        config = _typed_config(values)
    except _SettingError as error:
        if not origin or error.key in overrides:
            raise
        raise ConfigError(f"{origin}: its config does not fit this version: {error}") from error
    except _UnknownOptionError as error:
        if plugin is None:
            raise ConfigError(f"{origin}: {error}" if origin else str(error)) from error
        raise PluginError(f"{origin}: add plugin={plugin}, which defines {error.group}={error.option}") from error
    check(config)
    return config


def _check_form(values: Values) -> None:
    """Raise ConfigError for a value in place of a section. Afterwards all groups with an option each have one."""
    for key, value in values.items():
        if not isinstance(value, dict) and key in _WITH_KEYS:
            raise _has_keys(key, value)
        for name in value if key in COMBINABLE else ():
            if name in COMBINABLE[key] and not isinstance(value[name], dict):
                raise _has_keys(f"{key}.{name}", value[name])
    for group in OPTIONS:
        values.setdefault(group, {})


def _has_keys(key: str, value: Any) -> _SettingError:
    """What is wrong with a value in place of a section."""
    return _SettingError(key, f"{key}={value}: set its keys one by one, such as {key}.KEY=VALUE")


def _stay_inside(values: Values) -> None:
    """Replace the settings by which a saved config would reach out of its run's folder."""
    for group, options in OPTIONS.items():
        name = values[group].get("name", DEFAULT_OPTIONS[group])
        if isinstance(name, str) and name in options:
            values[group] |= _when_saved(field for _, field in fields_of(group, name))
    for group, options in COMBINABLE.items():
        for name, option in values.get(group, {}).items():
            if name in options:
                values[group][name] = option | _when_saved(dataclasses.fields(options[name]))


def _when_saved(fields: Iterable[dataclasses.Field]) -> Values:
    """The values that replace saved ones."""
    values = {field.name: setting_of(field).when_saved for field in fields}
    return {key: value for key, value in values.items() if value is not AS_SAVED}


def _replace(values: Values, key: str, value: Any) -> None:
    """Replace a setting in a saved config, or the options of a group."""
    group, _, name = key.partition(".")
    if group in OPTIONS and name in ("", "name"):
        _choose_option(values, group, key, value)
    elif key in COMBINABLE:
        _choose_combination(values, group, value)
    elif key in _WITH_KEYS:
        raise _has_keys(key, value)
    elif not name:
        values[key] = value
    else:
        section = values.setdefault(group, {}) if group in _WITH_KEYS else None
        option, dot, inner = name.rpartition(".")
        if dot and section is not None:  # a setting of an option of which there may be several
            section = section.get(option) if option in COMBINABLE.get(group, ()) else None
        if section is None:
            raise _SettingError(key, unknown_key(f"{key}={value}"))
        section[inner] = value


def _choose_option(values: Values, group: str, key: str, name: str | None) -> None:
    """Replace a group's option in a saved config; values that the new one does not have are dropped."""
    if name not in OPTIONS[group]:
        raise _UnknownOptionError(group, name, key)
    known = {field.name for _, field in fields_of(group, name)}
    values[group] = {"name": name} | {key: value for key, value in values[group].items() if key in known}


def _choose_combination(values: Values, group: str, given: str | list[str] | None) -> None:
    """Replace the options that a saved config combines; those that stay keep their settings."""
    names = given if isinstance(given, list) else [name.strip() for name in (given or "").strip("[]").split(",")]
    names = [name for name in names if name]
    for name in names:
        if name not in COMBINABLE[group]:  # with settings of its own, the group has presets: the command line's alone
            raise _has_keys(group, given) if settings_of(section_class(group)) else _UnknownOptionError(group, name)
    section = values.get(group, {})
    others = {key: value for key, value in section.items() if key not in COMBINABLE[group]}
    values[group] = others | {name: section.get(name, {}) for name in names}


def _add_what_suits(values: Values) -> None:
    """Add to a config what suits its options, where it does not say otherwise."""
    for group in OPTIONS:
        for key, value in suits_of(group, _option_name(values, group)).items():
            other, _, field = key.rpartition(".") if "." in key else (key, ".", "name")
            values.setdefault(other, {}).setdefault(field, value)


def _leave_out_what_has_no_place(values: Values) -> None:
    """Take out what suits a network but is no setting of the optimizer, say, that was chosen."""
    names = {group: _option_name(values, group) for group in OPTIONS}
    for group, name in names.items():
        for key, value in suits_of(group, name).items():
            other, _, field = key.rpartition(".")
            owners = _owners(other, field)
            if owners and names[other] not in owners and values[other].get(field) == value:
                del values[other][field]


def _owners(group: str, name: str) -> list[str]:
    """The options of a group that have a setting of this name."""
    return [
        option for option in OPTIONS.get(group, ()) if name in {field.name for _, field in fields_of(group, option)}
    ]


def _option_name(values: Values, group: str) -> str:
    name = values[group].get("name", DEFAULT_OPTIONS[group])
    if not isinstance(name, str) or name not in OPTIONS[group]:
        raise _UnknownOptionError(group, name)
    return name


def _typed_config(values: Values) -> Config:
    _leave_out_what_has_no_place(values)
    sections: dict[str, Any] = {}
    for group in OPTIONS:
        sections[group] = _typed_option(group, _option_name(values, group), values[group])
    for group in COMBINABLE:
        default = {name: {} for name in DEFAULT_OPTIONS[group]}
        sections[group] = _typed_combination(group, values.get(group, default))
    for name, section in SINGLE.items():
        sections[name] = _typed(section, values.get(name, {}), name)
    sections |= {group: values[group] for group in SECTIONS if group in values}
    single = {key: value for key, value in values.items() if key not in sections}
    typed = _assigned(Config, single, "")
    plain: Any = OmegaConf.to_container(OmegaConf.masked_copy(typed, list(single)))
    return Config(**sections | plain)


def _typed_option(group: str, name: str, values: Values) -> Any:
    """An option's dataclass, inside that of its group's shared settings if there are some."""
    shared = SHARED.get(group)
    outer = {field.name for field in dataclasses.fields(shared)} - {"source"} if shared else set()
    own = {key: value for key, value in values.items() if key not in {"name", *outer}}
    option = _typed(OPTIONS[group][name], own, group)
    if shared is None:
        return option
    section = _typed(shared, {key: values[key] for key in values if key in outer} | {"source": None}, group)
    section.source = option
    return section


def _typed_combination(group: str, values: Values) -> Any:
    """The dataclass of a section that combines several options, in their order."""
    section, options = section_class(group), COMBINABLE[group]
    own = {key: value for key, value in values.items() if key not in options}
    for key, value in own.items():
        if isinstance(value, dict):
            raise _UnknownOptionError(group, key)
    typed = _typed(section, own, group)
    typed.options = {key: _typed(options[key], values[key], f"{group}.{key}") for key in values if key in options}
    return typed


def _typed(section: type, values: Values, where: str) -> Any:
    """A dataclass with these values, converted to the types of its fields.

    Args:
        section: the dataclass.
        values: by field.
        where: the key of the section, such as model, for errors.
    """
    try:
        return OmegaConf.to_object(_assigned(section, values, where))
    except MissingMandatoryValue as error:
        raise _SettingError(where, f"{where}.{error.full_key}: needs a value") from error
    except (TypeError, ValueError) as error:  # of a plugin's own __post_init__
        raise _SettingError(where, f"{where}: {error}") from error


def _assigned(section: type, values: Values, where: str) -> DictConfig:
    """A dataclass as OmegaConf has it, with these values."""
    typed, hints = OmegaConf.structured(section), get_type_hints(section)
    known = {field.name for field in dataclasses.fields(section)}
    for name, value in values.items():
        key = f"{where}.{name}" if where else name
        given = f"{key}={'null' if value is None else value}"
        if name not in known:
            raise _SettingError(key, unknown_key(given))
        try:
            # The text of a value that may have any type, such as trainer.devices, says which type it has.
            as_yaml = isinstance(value, str) and (hints[name] is Any or get_origin(hints[name]) in (list, dict))
            typed[name] = yaml.safe_load(value) if as_yaml else value
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            wanted = f"must be a list: {key}=[{value}]" if get_origin(hints[name]) is list else flat(str(error))
            raise _SettingError(key, f"{given}: {wanted}") from error
    return typed


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
    """A text as a value in Hydra's override syntax, where a backslash is one, unless it is before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + end[2].replace("'", "\\'"), text) + "'"


def explain(error: OmegaConfBaseException, override: str | None = None) -> str:
    """What an error of OmegaConf says about a setting, in one line.

    Args:
        error: from OmegaConf.
        override: the argument that was wrong, such as routing.iters=many, if it is known.
    """
    key = override or str(error.full_key or "")
    if key and isinstance(error, ConfigKeyError | ConfigAttributeError):
        return unknown_key(key)
    return f"{key}: {flat(str(error))}" if key else flat(str(error))


def unknown_key(override: str) -> str:
    """Why there is no such key with the options that are chosen, and what may have been meant.

    Args:
        override: KEY or KEY=VALUE.
    """
    key = override.split("=", 1)[0].lstrip("+~")
    group, _, name = key.partition(".")
    if group == "hydra":
        return f"{override}: cannot be set here, only where a run or a sweep begins"
    if group == "trainer" and name in NO_EFFECT:
        return f"{override}: does nothing here, since {NO_EFFECT[name]}"
    if group == "callbacks" and (advice := CALLBACKS.get(name.partition(".")[0])):
        return f"{override}: no such key; {advice}"
    if group in SECTIONS and name:
        return (
            f"{override}: no such key; choose {group}=NAME first, and add an argument by +{group}.NAME.ARGUMENT=VALUE"
        )
    owners = _owners(group, name) or [name.partition(".")[0]]
    known = list(dict.fromkeys(known for known, _ in known_settings()))
    if key in known and name:
        torchs = f"; of optimizer=torch, +optimizer.arguments.{name}=VALUE" if group == "optimizer" else ""
        swept = re.search(r"=[^\[{'\"]*,", override)
        some = "; if some jobs of a sweep have it, sweep those apart, and compare" if swept else ""
        return f"{override}: belongs to {group}={either(owners)}, which is not chosen{torchs}{some}"
    if instead := of_other_projects(key, override.partition("=")[2] or None):
        return f"{override}: no such key; {instead}"
    siblings = [other.partition(".")[2] for other in known if other.startswith(f"{group}.")]
    groups = sorted({*ALL_OPTIONS, *(other.partition(".")[0] for other in known)})
    if name and siblings:
        near = difflib.get_close_matches(name, siblings, n=1)
        hint = f"did you mean {group}.{near[0]}?" if near else f"{group} has {', '.join(siblings)}"
    elif name and group in groups:
        hint = f"{group} has no settings"
    else:
        own = [*known, *groups]
        near = difflib.get_close_matches(key, own, n=1, cutoff=0.75)
        if not near and (word := difflib.get_close_matches(key, ELSEWHERE, n=1, cutoff=0.8)):
            return f"{override}: no such key; did you mean {word[0]}? {of_other_projects(word[0])}"
        near = near or difflib.get_close_matches(key, own, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(groups)}"
    return f"{override}: no such key; {hint}"


def flat(text: str) -> str:
    """A message of Hydra or OmegaConf in one line, without their hints for developers."""
    noise = ("full_key:", "object_type=", "reference_type=", "Set the environment variable", "See https://hydra.cc")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith(noise))
