"""From YAML, overrides or a saved dictionary to a checked `Config`."""

import dataclasses
import difflib
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .config import Config, check, settings
from .errors import ConfigError


def config_from_omegaconf(composed: DictConfig) -> Config:
    """The typed config in a composed one. Raises ConfigError."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True)  # drops the types, which + may have widened
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    assert isinstance(config, Config)
    check(config)
    return config


def config_from_dict(saved: dict[str, Any], overrides: dict[str, Any] | None = None, origin: str = "") -> Config:
    """The typed config in a saved dictionary, with settings replaced by dotted key. Raises ConfigError."""
    if _refers(saved):  # resolved, such a text could read what is none of a saved config's business
        raise ConfigError(f"{origin}: its config holds ${{...}}, which is not resolved in a saved one")
    any_type = {key for key, _, entry in settings(Config()) if entry.type in (Any, "Any")}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), saved)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{origin}: its config is not one of this version ({one_line(error)})") from error
    assert isinstance(merged, DictConfig)
    for key, value in (overrides or {}).items():
        if dataclasses.is_dataclass(getattr(Config(), key, None)):
            raise ConfigError(f"{key}={value}: a group cannot be exchanged here, only its values, such as {key}.name")
        try:
            typed = yaml.safe_load(value) if key in any_type and isinstance(value, str) else value
            OmegaConf.update(merged, key, typed, force_add=False)
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise ConfigError(_about_override(f"{key}={value}", error)) from error
    return config_from_omegaconf(merged)


def _refers(saved: Any) -> bool:
    """Is there an interpolation anywhere in it?"""
    if isinstance(saved, dict):
        return any(map(_refers, [*saved, *saved.values()]))
    if isinstance(saved, list | tuple):
        return any(map(_refers, saved))
    return isinstance(saved, str) and "${" in saved


def parse_values(arguments: list[str]) -> dict[str, str | None]:
    """KEY=VALUE arguments as a dictionary; the value is taken as it stands, so paths need no quoting, and null is None.

    Raises:
        ConfigError: an argument is not of that form.
    """
    values: dict[str, str | None] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise ConfigError(f"{argument}: expected KEY=VALUE, such as run=RUN_DIR")
        values[key] = None if value == "null" else value
    return values


def quoted(text: str) -> str:
    """A text as a value in Hydra's grammar of overrides."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def one_line(error: Exception) -> str:
    """What an error of Hydra or OmegaConf says about a setting, in one line."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        override = _quoted_override(str(error)) or f"{cause.full_key}"
        return _about_override(override, cause)
    override = getattr(error, "override", None)  # what Hydra's parser could not read
    return f"{override}: {_flat(str(error))}" if override else _flat(str(error))


def _about_override(override: str, error: Exception) -> str:
    key = override.split("=", 1)[0].lstrip("+~")
    known = [name for name, _, _ in settings(Config())]
    groups = sorted({name.split(".")[0] for name in known})
    text = str(error)
    if "is not in struct" in text or "not in '" in text:
        near = difflib.get_close_matches(key, known + groups, n=1, cutoff=0.5)
        parent = key.rpartition(".")[0]
        siblings = [name for name in known if name.rpartition(".")[0] == parent]
        hint = f"did you mean {near[0]}?" if near else ""
        listing = f"there are {', '.join(siblings or groups)}" if not near else ""
        return f"{override}: no such key; {hint}{listing}"
    return f"{override}: {_flat(text)}"


def _quoted_override(text: str) -> str | None:
    """The override that Hydra's message puts between quotes, or after `override `."""
    first = text.splitlines()[0]
    for opening, closing in (("Could not override '", "'"), ("Error merging override ", "")):
        if first.startswith(opening):
            return first.removeprefix(opening).removesuffix(".").removesuffix(closing)
    return None


def _flat(text: str) -> str:
    noise = ("full_key:", "object_type=", "reference_type=", "Set the environment variable", "See https://hydra.cc")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not line.startswith(noise))
