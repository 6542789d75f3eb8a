"""What a sweep is: how many jobs, over which keys, from which command. All of it is in the sweep's folder."""

import dataclasses
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ..errors import CheckpointError, ConfigError, PluginError
from ..files import read_json, write_json
from ..runs.folder import SWEEP_FILE
from ..settings.config import Config
from ..settings.foreign import SECTIONS
from ..settings.parse import quoted
from ..text import counted, on_one_line, relative

PLAN_FILE = "sweep.json"
NOT_REPEATED = ("completed", "diverged")
"""Jobs that are left alone when a sweep is continued; failed ones are tried again."""
MAX_LABEL = 40  # characters

CODE = ("plugin", *SECTIONS)
"""What chooses code: it is never restored from a sweep's folder."""


@dataclass
class Plan:
    """The content of sweep.json, written when a sweep begins."""

    jobs: int
    swept: list[str]
    """Keys that differ between jobs."""
    started: float
    """Seconds since 1970."""
    finished_before: int = 0
    """Jobs that an earlier, interrupted start had finished."""

    def write(self, folder: Path) -> None:
        write_json(folder / PLAN_FILE, asdict(self))


def read_plan(folder: Path) -> Plan | None:
    """The plan in a sweep's folder; None if there is none, or a file of somebody else's in its place."""
    try:
        content = read_json(folder / PLAN_FILE)
        return Plan(**{entry.name: content[entry.name] for entry in dataclasses.fields(Plan)})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_plan(folder: Path, jobs: int, swept: list[str], finished_before: int) -> str:
    """Write what a sweep is going to do into its folder, and describe it in one line."""
    Plan(jobs, swept, time.time(), finished_before).write(folder)
    before = f" ({finished_before} finished before)" if finished_before else ""
    keys = f" over {', '.join(swept)}" if jobs > 1 else ""
    return f"{counted(jobs, 'job')}{before}{keys} in {relative(folder)}"


def as_typed(overrides: Any) -> list[str]:
    """Hydra's list of overrides, as they were typed: an interpolation in one is not resolved."""
    return list(OmegaConf.to_container(overrides, resolve=False))


def is_given(key: str, overrides: Sequence[str]) -> bool:
    """Does one of these overrides set the key?"""
    return any(override.lstrip("+").startswith(f"{key}=") for override in overrides)


def values_by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as a dictionary."""
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, _, value in pairs}


def differing_keys(jobs: Sequence[dict[str, str]]) -> list[str]:
    """The keys whose values differ between jobs; all keys if none does."""
    keys = dict.fromkeys(key for values in jobs for key in values)
    return [key for key in keys if len({values.get(key) for values in jobs}) > 1] or list(keys)


def job_label(run_dir: Path, overrides: Sequence[str]) -> str:
    """A short name for a sweep's job, by what distinguishes it from the others: iters=3,dropout=0.5."""
    plan = read_plan(run_dir.parent)
    values = values_by_key(overrides)
    swept = [key for key in plan.swept if key in values] if plan is not None else []
    endings = [key.rpartition(".")[2] for key in swept]
    names = [ending if endings.count(ending) == 1 else key for key, ending in zip(swept, endings, strict=True)]
    label = ""
    for name, key in zip(names, swept, strict=True):
        longer = f"{label},{name}={values[key]}" if label else f"{name}={values[key]}"
        if label and len(longer) > MAX_LABEL:
            return f"{label},..."
        label = longer
    return label


def original_overrides(folder: Path) -> list[str]:
    """The overrides that a sweep was started with, without Hydra's own. Raises CheckpointError."""
    path = folder / SWEEP_FILE
    try:
        loaded: Any = OmegaConf.load(path)
        return list(OmegaConf.to_container(loaded.hydra.overrides.task, resolve=False))
    except Exception as error:
        raise CheckpointError(f"{path}: not the record of a sweep ({on_one_line(error)})") from error


def continuing_arguments(folder: Path, given: list[str]) -> list[str]:
    """The arguments of train.py that continue a sweep: its own overrides, and its folder.

    Only settings are restored, nothing that chooses code. Launcher, sweeper, plugin and Hydra's other overrides must be
    given again.

    Args:
        folder: of the sweep.
        given: the other arguments of the command line.

    Raises:
        CheckpointError: the folder's record of the sweep is damaged, or asks for more than settings.
        PluginError: the sweep used a plugin that is not given.
        ConfigError: a setting is given beside those of the sweep.
    """
    original = original_overrides(folder)
    asked = [override for override in original if _group(override) in CODE or "${" in override]  # not taken from a file
    settings = [override for override in original if override not in asked]
    for override in settings:
        if not _is_setting(override):
            raise CheckpointError(
                f"{folder / SWEEP_FILE}: {override}: refused: a saved sweep may contain only settings"
            )
    missing = [one for one in asked if _group(one) not in map(_group, given if _group(one) in CODE else ())]
    missing = [one for one in missing if one not in given]
    missing += [f"--config-dir={path}" for path in _config_dirs(folder) if not any(map(_is_flag, given))]
    if missing:
        wanted = " ".join(shlex.quote(one) for one in missing)
        raise PluginError(f"{folder}: add {wanted}, which the sweep was started with")
    for override in given:
        if not _is_flag(override) and override not in asked and _group(override) not in ("hydra", *CODE):
            raise ConfigError(
                f"{override}: cannot change when a sweep continues; start another, and compare both: capsnet compare"
            )
    # The same order as at the start: a job is known by its overrides.
    same = [override for override in original if override in settings or override in given]
    flags = [override for override in given if _is_flag(override)]
    others = [override for override in given if override not in flags and override not in same]
    return ["--multirun", *flags, *same, *others, f"hydra.sweep.dir={quoted(str(folder.absolute()))}"]


def _is_flag(argument: str) -> bool:
    return argument.startswith("--config-dir=")


def _config_dirs(folder: Path) -> list[str]:
    """The folder of more YAML files that a sweep was started with, as --config-dir; or none."""
    sources: Any = OmegaConf.select(OmegaConf.load(folder / SWEEP_FILE), "hydra.runtime.config_sources", default=[])
    return [str(source.path) for source in sources if source.provider == "command-line"]


def started_in(folder: Path) -> Path | None:
    """The working folder from which a sweep was started, to which its relative paths belong; None if it has gone."""
    recorded = OmegaConf.select(OmegaConf.load(folder / SWEEP_FILE), "hydra.runtime.cwd")
    return Path(recorded) if isinstance(recorded, str) and Path(recorded).is_dir() else None


def refuse_other_sweep(folder: Path, overrides: list[str]) -> None:
    """Raise ConfigError if a folder already has a sweep with other settings."""
    if not (folder / SWEEP_FILE).exists():
        return
    original = original_overrides(folder)
    if without_code(original) != without_code(overrides):
        raise ConfigError(
            f"hydra.sweep.dir={folder}: has a sweep with other settings ({' '.join(original)});"
            " choose another folder, or continue that sweep with resume="
        )


def without_code(overrides: list[str]) -> list[str]:
    """Overrides without plugin, loggers and callbacks: a sweep that is continued gets them from its command line."""
    return [override for override in overrides if _group(override) not in CODE]


def _group(override: str) -> str:
    """The first part of an override's key."""
    return re.split(r"[.=/@]", override.lstrip("+~"), maxsplit=1)[0]


def _is_setting(override: str) -> bool:
    """Does an override set a key of ours, or choose an option of one of our groups by its name?"""
    key, _, value = override.partition("=")
    known = {entry.name for entry in dataclasses.fields(Config)} | {"experiment", "sweep"}
    names_another_file = "/" in key or "@" in key or ("." not in key and "/" in value)
    return _group(override) in known and not names_another_file and "_target_" not in override and "${" not in override
