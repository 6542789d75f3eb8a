"""From YAML, overrides or a saved dictionary to a checked `Config`, with errors that say what is wrong."""

import dataclasses
import difflib
from collections.abc import Iterable
from functools import cache
from typing import Any, get_type_hints

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from ..errors import ConfigError, PluginError
from ..text import either
from .config import (
    ALL_OPTIONS,
    COMBINABLE,
    OPTIONS,
    SHARED,
    Config,
    check,
    fields_of,
    section_class,
    settings_of,
    suits_of,
)
from .foreign import SECTIONS
from .hints import CALLBACKS, of_other_projects
from .setting import AS_SAVED, setting_of
from .trainer import NO_EFFECT

Names = dict[str, Any]
"""The option that is chosen for each group: its name, or the names of those that are combined, as a tuple."""

DEFAULT_OPTIONS: Names = {group: next(iter(options)) for group, options in OPTIONS.items()} | {
    group: section_class(group).default for group in COMBINABLE
}


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
        overrides: values by dotted key, or by group to choose another of its options, or several as [NAME,NAME].
        origin: the file that the dictionary is from, for errors. What is missing in a file takes its default: it did
            not exist yet when the file was written, so nothing suited the options.

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
    for group in COMBINABLE:
        if group in settings and _choose_combination(values, group, settings[group]):
            del settings[group]
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
            section.update(_when_saved(field for _, field in fields_of(group, name)))
    for group, options in COMBINABLE.items():
        section = values.get(group)
        for name, option in section.items() if isinstance(section, dict) else ():
            if name in options and isinstance(option, dict):
                section[name] = option | _when_saved(dataclasses.fields(options[name]))


def _when_saved(fields: Iterable[dataclasses.Field]) -> dict[str, Any]:
    """The values that replace saved ones."""
    values = {field.name: setting_of(field).when_saved for field in fields}
    return {key: value for key, value in values.items() if value is not AS_SAVED}


class _UnknownOptionError(ConfigError):
    """A group names an option that does not exist."""

    def __init__(self, group: str, option: Any, key: str | None = None):
        given = "null" if option is None else option
        choice = f"choose {either(ALL_OPTIONS[group])}" if ALL_OPTIONS[group] else "only a plugin adds options here"
        super().__init__(f"{key or group}={given}: no such option; {choice}")
        self.group, self.option = group, option


def _choose_option(values: dict[str, Any], group: str, key: str, name: str | None) -> None:
    """Replace a group's option in a saved config; values that the new one does not have are dropped."""
    if name not in OPTIONS[group]:
        raise _UnknownOptionError(group, name, key)
    known = {field.name for _, field in fields_of(group, name)}
    section = values.get(group)
    kept = {key: value for key, value in section.items() if key in known} if isinstance(section, dict) else {}
    values[group] = {"name": name, **kept}


def _choose_combination(values: dict[str, Any], group: str, given: str | list[str] | None) -> bool:
    """Replace the options that a saved config combines; those that stay keep their settings.

    Returns:
        False if a name may be that of a preset, which only the command line can choose.
    """
    names = given if isinstance(given, list) else [name.strip() for name in (given or "").strip("[]").split(",")]
    names = [name for name in names if name]
    for name in names:
        if name not in COMBINABLE[group]:
            if settings_of(section_class(group)):
                return False
            raise _UnknownOptionError(group, name)
    section = values.get(group)
    section = section if isinstance(section, dict) else {}
    others = {key: value for key, value in section.items() if key not in COMBINABLE[group]}
    values[group] = others | {name: section.get(name, {}) for name in names}
    return True


def _typed_config(values: dict[str, Any], overrides: dict[str, str | None], origin: str = "") -> Config:
    if not origin:
        _add_what_suits(values)
    names: Names = {group: _option_name(values, group) for group in OPTIONS}
    _leave_out_what_has_no_place(values, names)
    names |= {group: _combined_names(values, group) for group in COMBINABLE}
    by_name = {group: values[group] for group in SECTIONS if group in values}
    for group, section in by_name.items():
        if not isinstance(section, dict):
            raise _has_keys(group, section)
    typed_values = {key: value for key, value in values.items() if key not in SECTIONS}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(_schema(**names)), typed_values)
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
    entries = [entry.name for entry in dataclasses.fields(Config) if entry.name not in SECTIONS]
    sections = {name: getattr(typed, name) for name in entries} | by_name
    sections |= {group: _section(group, names[group], sections[group]) for group in OPTIONS}
    return Config(**sections | {group: _combination(group, names[group], sections[group]) for group in COMBINABLE})


def _add_what_suits(values: dict[str, Any]) -> None:
    """Add to a config what suits its options, where it does not say otherwise."""
    for group in OPTIONS:
        for key, value in suits_of(group, _option_name(values, group)).items():
            other, _, field = key.rpartition(".") if "." in key else (key, ".", "name")
            if isinstance(section := values.setdefault(other, {}), dict):
                section.setdefault(field, value)


def _leave_out_what_has_no_place(values: dict[str, Any], names: Names) -> None:
    """Take out what suits a network but is no setting of the optimizer, say, that was chosen."""
    for group, name in names.items():
        for key, value in suits_of(group, name).items():
            other, _, field = key.rpartition(".")
            owners, section = _owners(other, field), values.get(other)
            if owners and names[other] not in owners and isinstance(section, dict) and section.get(field) == value:
                del section[field]


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


def _combined_names(values: dict[str, Any], group: str) -> tuple[str, ...]:
    """The names of the options that a config combines, in their order."""
    section, section_type = values.get(group), section_class(group)
    if not isinstance(section, dict):
        return section_type.default
    own = {field.name for field in settings_of(section_type)}
    for name, value in section.items():
        if isinstance(value, dict) and name not in {*own, *COMBINABLE[group]}:
            raise _UnknownOptionError(group, name)
        if not isinstance(value, dict) and name in COMBINABLE[group]:
            raise _has_keys(f"{group}.{name}", value)
    return tuple(name for name in section if name in COMBINABLE[group])


def _section(group: str, name: str, typed: Any) -> Any:
    """An option's dataclass, inside that of its group's shared settings if there are some."""
    option = _option(OPTIONS[group][name], typed, f"{group}={name}")
    if group not in SHARED:
        return option
    shared = [field.name for field in dataclasses.fields(SHARED[group]) if field.name != "source"]
    return SHARED[group](source=option, **{key: getattr(typed, key) for key in shared})


def _combination(group: str, names: tuple[str, ...], typed: Any) -> Any:
    """The dataclass of a section that combines several options."""
    options = {name: _option(COMBINABLE[group][name], getattr(typed, name), f"{group}={name}") for name in names}
    own = {field.name: getattr(typed, field.name) for field in settings_of(section_class(group))}
    return section_class(group)(options=options, **own)


def _option(option_class: type, typed: Any, where: str) -> Any:
    try:
        return option_class(**{field.name: getattr(typed, field.name) for field in dataclasses.fields(option_class)})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


@cache
def _schema(**names: Any) -> type:
    """A dataclass with the types and defaults of a config in which these options are chosen, for OmegaConf."""
    hints = get_type_hints(Config)
    entries = []
    for entry in dataclasses.fields(Config):
        if entry.name in SECTIONS:
            continue
        if entry.name in OPTIONS:
            section = section_schema(entry.name, names[entry.name])
            entries.append((entry.name, section, dataclasses.field(default_factory=section)))
        elif entry.name in COMBINABLE:
            section = _combination_schema(entry.name, names[entry.name])
            entries.append((entry.name, section, dataclasses.field(default_factory=section)))
        elif dataclasses.is_dataclass(section := hints[entry.name]):
            entries.append((entry.name, section, dataclasses.field(default_factory=section)))
        else:
            entries.append((entry.name, section, dataclasses.field(default=entry.default)))
    return dataclasses.make_dataclass("ConfigSchema", entries)


def section_schema(group: str, name: str) -> type:
    """A dataclass with the name of an option and all its settings, those shared by its group included."""
    entries: list[Any] = [("name", str, dataclasses.field(default=name))]
    entries += [_schema_entry(owner, field) for owner, field in fields_of(group, name)]
    return dataclasses.make_dataclass(f"{OPTIONS[group][name].__name__}Schema", entries)


def option_schema(option: type) -> type:
    """A dataclass with the settings of an option that can be combined."""
    entries = [_schema_entry(option, field) for field in dataclasses.fields(option)]
    return dataclasses.make_dataclass(f"{option.__name__}Schema", entries)


def _combination_schema(group: str, names: tuple[str, ...]) -> type:
    """A dataclass with the settings of a group's section itself, and one for each of these options."""
    section = section_class(group)
    entries = [_schema_entry(section, field) for field in settings_of(section)]
    for name in names:
        schema = option_schema(COMBINABLE[group][name])
        entries.append((name, schema, dataclasses.field(default_factory=schema)))
    return dataclasses.make_dataclass(f"{section.__name__}Schema", entries)


def _schema_entry(owner: type, field: dataclasses.Field) -> tuple[str, Any, Any]:
    """A setting's name, type and default, as OmegaConf takes them."""
    if field.default_factory is not dataclasses.MISSING:
        default = dataclasses.field(default_factory=field.default_factory)
    else:
        default = dataclasses.field(default=MISSING if field.default is dataclasses.MISSING else field.default)
    return field.name, get_type_hints(owner)[field.name], default


def _set(merged: DictConfig, key: str, value: str | None, names: Names) -> None:
    if key in merged and isinstance(merged[key], DictConfig):
        raise _has_keys(key, value)
    try:
        parsed = yaml.safe_load(value) if isinstance(value, str) and _takes_any_type(merged, key) else value
        OmegaConf.update(merged, key, parsed, force_add=False)
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}={value}: not a value that YAML understands") from error
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, names, override=f"{key}={'null' if value is None else value}")) from error


def _has_keys(key: str, value: Any) -> ConfigError:
    """What is wrong with a value in place of a section."""
    return ConfigError(f"{key}={value}: set its keys one by one, such as {key}.KEY=VALUE")


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


def known_keys(names: Names) -> list[str]:
    """Every key of a config in which these options are chosen."""
    hints = get_type_hints(Config)
    keys = []
    for entry in dataclasses.fields(Config):
        if entry.name in OPTIONS:
            fields = [field for _, field in fields_of(entry.name, names[entry.name])]
        elif dataclasses.is_dataclass(hints[entry.name]):
            fields = settings_of(hints[entry.name])
        else:
            keys.append(entry.name)
            continue
        keys += [f"{entry.name}.{field.name}" for field in fields]
        for name in names[entry.name] if entry.name in COMBINABLE else ():
            option = COMBINABLE[entry.name][name]
            keys += [f"{entry.name}.{name}.{field.name}" for field in dataclasses.fields(option)]
    return keys


def explain(
    error: OmegaConfBaseException,
    names: Names | None = None,
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


def unknown_key(override: str, names: Names) -> str:
    """Why there is no such key, and what may have been meant.

    Args:
        override: KEY or KEY=VALUE.
        names: the option chosen for each group.
    """
    key = override.split("=", 1)[0].lstrip("+~")
    group, _, name = key.partition(".")
    if group == "trainer" and name in NO_EFFECT:
        return f"{override}: does nothing here, since {NO_EFFECT[name]}"
    if group == "callbacks" and (advice := CALLBACKS.get(name.partition(".")[0])):
        return f"{override}: no such key; {advice}"
    if group in SECTIONS and name:
        return (
            f"{override}: no such key; choose {group}=NAME first, and add an argument by +{group}.NAME.ARGUMENT=VALUE"
        )
    if owners := _owners(group, name):
        return f"{override}: belongs to {group}={either(owners)}, not to {group}={names[group]}"
    if group in COMBINABLE and (option := name.partition(".")[0]) in COMBINABLE[group].keys() - {*names[group]}:
        return f"{override}: belongs to {group}={option}, which is not chosen"
    if instead := of_other_projects(key, override.partition("=")[2] or None):
        return f"{override}: no such key; {instead}"
    known = known_keys(names)
    siblings = [other.partition(".")[2] for other in known if other.startswith(f"{group}.")]
    groups = sorted({*ALL_OPTIONS, *(other.partition(".")[0] for other in known)})
    if name and group in groups:
        if not siblings:
            chosen = names[group] if group in OPTIONS else f"[{','.join(names[group])}]"
            return f"{override}: no such key; {group}={chosen} has no settings"
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
