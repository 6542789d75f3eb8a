"""Options from a Python file outside the project, read only because the command line names it."""

import dataclasses
import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import PluginError
from ..text import either
from .config import OPTIONS, SHARED
from .parse import section_schema


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
    file = Path(path).absolute()
    try:
        plugin = Plugin(file, hashlib.sha256(file.read_bytes()).hexdigest())
    except OSError as error:
        raise PluginError(f"plugin={path}: cannot be read ({error.strerror})") from error
    if _loaded == plugin:
        return plugin
    if _loaded is not None:
        raise PluginError(f"plugin={path}: only one plugin at a time, and {_loaded.path} has been read")
    options = getattr(_run(file, path), "OPTIONS", None)
    _check_form(options, path)
    for group, additions in options.items():
        OPTIONS[group].update(additions)
    try:
        _check_settings(options, path)
    except PluginError:
        for group, additions in options.items():
            for name in additions:
                del OPTIONS[group][name]
        raise
    _loaded = plugin
    return plugin


def _run(file: Path, named: str | Path) -> Any:
    name = f"capsnet_plugin_{re.sub(r'[^a-zA-Z0-9_]', '_', file.stem)}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugin={named}: not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where type hints of its dataclasses are looked up
    sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        sys.path.remove(str(file.parent))
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        if isinstance(error, SyntaxError):
            lines = [error.lineno]
        where = f"line {lines[-1]}: " if lines else ""
        raise PluginError(f"plugin={named}: {where}{type(error).__name__}: {error}") from error
    return module


def _check_form(options: Any, path: str | Path) -> None:
    if not isinstance(options, Mapping) or not options:
        raise PluginError(f"plugin={path}: has no OPTIONS = {{GROUP: {{NAME: dataclass}}}}")
    for group, additions in options.items():
        if group not in OPTIONS:
            raise PluginError(f"plugin={path}: OPTIONS has a group {group!r}; there are {either(OPTIONS)}")
        if not isinstance(additions, Mapping):
            raise PluginError(f"plugin={path}: OPTIONS[{group!r}] must be a dictionary {{NAME: dataclass}}")
        for name, option in additions.items():
            where = f"plugin={path}: OPTIONS[{group!r}][{name!r}]"
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise PluginError(f"{where}: a name must be made of letters, digits and _")
            if name in OPTIONS[group]:
                raise PluginError(f"{where}: {group}={name} exists already; choose another name")
            if not isinstance(option, type) or not dataclasses.is_dataclass(option):
                raise PluginError(f"{where}: must be a dataclass")
            if not callable(getattr(option, "build", None)):
                raise PluginError(f"{where}: the dataclass needs a method build(...)")
        classes = list(additions.values())
        if len(set(classes)) < len(classes):
            raise PluginError(f"plugin={path}: OPTIONS[{group!r}]: each name needs a dataclass of its own")


def _check_settings(options: Mapping[str, Mapping[str, type]], path: str | Path) -> None:
    for group, additions in options.items():
        shared = {field.name for field in dataclasses.fields(SHARED[group])} if group in SHARED else set()
        for name, option in additions.items():
            where = f"plugin={path}: OPTIONS[{group!r}][{name!r}]"
            for field in dataclasses.fields(option):
                if field.name in shared | {"name"}:
                    raise PluginError(f"{where}: leave out {field.name}, which every option of the group has")
            try:
                OmegaConf.structured(section_schema(group, name))
            except (OmegaConfBaseException, NameError, TypeError) as error:
                raise PluginError(f"{where}: {str(error).splitlines()[0]}") from error
