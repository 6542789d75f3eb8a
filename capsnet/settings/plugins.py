"""Options from a Python file outside the project, read only because the command line names it."""

import dataclasses
import importlib.util
import re
import sys
import traceback
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from ..errors import PluginError
from ..files import file_digest, user_path
from ..text import NUMBERS, either, on_one_line
from .config import ALL_OPTIONS, COMBINABLE, OPTIONS, SHARED, names_measured, section_class, settings_of
from .optimizer import Optimizer

BUILDERS = ("build", "build_matrices")  # a routing of matrices may have the second one only
PLAIN = (int, float, str, bool)
ATTRIBUTES = ("capsules", "matrices", "logits", "monitor", "lower_is_better", "several_classes")
"""What an option's class says of itself; any other plain attribute is a setting whose type was forgotten."""


class Plugin(NamedTuple):
    """A plugin that has been read."""

    path: Path
    """Absolute."""
    sha256: str
    """Of the file itself, not of the modules that it imports."""


_loaded: Plugin | None = None


def loaded_plugin() -> Plugin | None:
    """The plugin that this process has read."""
    return _loaded


def load_plugin(path: str | Path) -> Plugin:
    """Run a plugin file and add its OPTIONS to those of the project. The file may import its neighbours.

    Reading the same plugin again does nothing.

    Raises:
        PluginError: the file is missing, fails, or its OPTIONS are not in the form that docs/extending.md describes.
    """
    global _loaded
    file = user_path(str(path)).absolute()
    try:
        plugin = Plugin(file, file_digest(file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise PluginError(f"plugin={path}: cannot be read ({reason})") from error
    if _loaded == plugin:
        return plugin
    if _loaded is not None and _loaded.path == file:
        raise PluginError(f"plugin={path}: has changed since this program read it: restart Python")
    if _loaded is not None:
        raise PluginError(
            f"plugin={path}: only one plugin in a program, and {_loaded.path} is loaded"
            " already: restart Python, or write a plugin that imports both"
        )
    sys.path.append(str(file.parent))
    try:
        options = getattr(_run(file, path), "OPTIONS", None)
        if isinstance(options, Mapping):
            options = {"metrics" if group == "metric" else group: additions for group, additions in options.items()}
        _check_form(options, f"plugin={path}")
    except Exception:
        sys.path.remove(str(file.parent))
        raise
    for group, additions in options.items():
        ALL_OPTIONS[group].update(additions)
        NUMBERS.update(name for item in additions.items() for name in _lower_is_better(group, *item))
    _loaded = plugin
    return plugin


def named_plugin(override: str) -> str | None:
    """The file that an override names, if it is plugin=FILE."""
    key, _, value = override.lstrip("+").partition("=")
    return value.strip("'\"") if key == "plugin" and value != "null" else None


def _lower_is_better(group: str, name: str, option: Any) -> Iterable[str]:
    """What an option measures that is best if it is low."""
    lower = getattr(option, "lower_is_better", ())
    if group == "metrics":
        return names_measured(name, option) if lower else ()
    return lower if group == "task" else ()


def _run(file: Path, named: str | Path) -> Any:
    name = f"capsnet_plugin_{re.sub(r'[^a-zA-Z0-9_]', '_', file.stem)}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin={named}: not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where type hints of its dataclasses are looked up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f"line {line}: " if line else ""
        raise PluginError(f"plugin={named}: {where}{type(error).__name__}: {on_one_line(error)}") from error
    return module


def _check_form(options: Any, plugin: str) -> None:
    if not isinstance(options, Mapping) or not options or not all(isinstance(of, Mapping) for of in options.values()):
        raise PluginError(f"{plugin}: has no OPTIONS = {{GROUP: {{NAME: dataclass}}}}")
    for group, additions in options.items():
        if group not in ALL_OPTIONS:
            raise PluginError(f"{plugin}: OPTIONS has an unknown group {group!r}; choose {either(ALL_OPTIONS)}")
        classes = [*additions.values(), *ALL_OPTIONS[group].values()]
        for name, option in additions.items():
            where = f"{plugin}: OPTIONS[{group!r}][{name!r}]"
            if name in ALL_OPTIONS[group]:
                raise PluginError(f"{where}: {group}={name} exists already; choose another name")
            builds = any(callable(getattr(option, method, None)) for method in BUILDERS)
            if not isinstance(option, type) or not dataclasses.is_dataclass(option) or not builds:
                raise PluginError(f"{where}: must be a dataclass with a method build(...)")
            if group == "optimizer" and not issubclass(option, Optimizer):
                raise PluginError(f"{where}: must derive from capsnet.Optimizer")
            if classes.count(option) > 1:
                raise PluginError(f"{where}: each name needs a dataclass of its own")
            _check_settings(group, name, option, where)


def _check_settings(group: str, name: str, option: type, where: str) -> None:
    """Raise PluginError if an option has a field that cannot be a setting."""
    if group in COMBINABLE and name in {"names", *(field.name for field in settings_of(section_class(group)))}:
        raise PluginError(f"{where}: {group}.{name} is a setting; choose another name")
    try:
        hints = get_type_hints(option)
        OmegaConf.structured(option)
    except Exception as error:  # evaluating type hints and defaults can raise anything
        raise PluginError(f"{where}: {type(error).__name__}: {on_one_line(error)[:200]}") from error
    taken = {"name", *(field.name for field in dataclasses.fields(SHARED[group]))} if group in SHARED else {"name"}
    if group == "task" and not isinstance(getattr(option, "monitor", None), str):
        raise PluginError(f'{where}: must say what tells the best epoch: monitor = "NAME"')
    for attribute in ("also", *(("lower_is_better",) if group == "task" else ())):
        if not isinstance(getattr(option, attribute, ()), tuple | list):
            raise PluginError(f'{where}: {attribute} must list names: {attribute} = ("NAME",)')
    for attribute, value in vars(option).items():
        if type(value) in PLAIN and attribute not in (*hints, *ATTRIBUTES) and not attribute.startswith("_"):
            kind = type(value).__name__
            raise PluginError(f"{where}: {attribute} has no type, so it is no setting: {attribute}: {kind} = {value!r}")
    for field in dataclasses.fields(option):
        if group in OPTIONS and field.name in taken:
            raise PluginError(f"{where}: leave out {field.name}: every option of {group} has it")
        if not _is_plain(hints[field.name]):
            raise PluginError(f"{where}: {field.name} must be a number, a text, true or false, or a list of those")


def _is_plain(hint: Any) -> bool:
    """Can values of this type be saved as plain values?"""
    if get_origin(hint) is not None:
        plain_origin = get_origin(hint) in (list, dict, tuple, Union, types.UnionType)
        return plain_origin and all(_is_plain(part) for part in get_args(hint) if part is not Ellipsis)
    return hint in (*PLAIN, type(None), Any, list, dict, tuple)
