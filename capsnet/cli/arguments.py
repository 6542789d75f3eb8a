"""Arguments that are not Hydra's: resume=, rerun= and refit= of train.py, and all of evaluate.py."""

import os
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError, ConfigError
from ..settings.parse import parse_values
from ..text import either
from .hints import advice_for_folder, refuse_flags, refuse_words

WORDS = ("resume", "rerun", "refit")
SHOWS = ("-c", "--cfg")
"""Hydra's flag that prints the config instead of training."""
SECTIONS_SHOWN = ("job", "hydra", "all")
_FLAGS = ("-m", "--multirun", "-r", "--run", "--resolve", "--hydra-help", "--version", "-sc", "--shell-completion")
_FLAGS_WITH_VALUE = (*SHOWS, "-p", "--package", "-cd", "--config-dir", "-cn", "--config-name", "-i", "--info")
_MAY_BE_ALONE = ("-i", "--info")


def hydra_arguments(arguments: list[str]) -> list[str]:
    """The same arguments with Hydra's flags at the front, since it does not find them behind settings.

    Raises:
        ConfigError: an argument is neither a flag of Hydra's nor KEY=VALUE.
    """
    flags, overrides, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if name in _FLAGS_WITH_VALUE:
            alone = name in _MAY_BE_ALONE and (not rest or "=" in rest[0])
            if not equals and not alone:
                value = rest.pop(0) if rest else ""
            if name in SHOWS and value not in SECTIONS_SHOWN:
                raise ConfigError(f"{name}: say what to show, {either(SECTIONS_SHOWN)}")
            if name in ("-cd", "--config-dir"):
                flags.append(f"--config-dir={value}")
            else:
                flags += [name, value] if value else [name]
        elif argument in _FLAGS:
            flags.append(argument)
        elif argument.startswith("-"):
            refuse_flags([argument], rest[0] if rest else None)
        else:
            overrides.append(argument)
    refuse_words(overrides, WORDS)
    return flags + overrides


def overrides_of(arguments: list[str]) -> list[str]:
    """The settings among `hydra_arguments`."""
    first = next((number for number, argument in enumerate(arguments) if _is_override(argument)), len(arguments))
    return arguments[first:]


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def config_dirs_of(arguments: list[str]) -> list[Path]:
    """The folders of more YAML files among `hydra_arguments`. Raises ConfigError if one is missing."""
    folders = [Path(argument.partition("=")[2]) for argument in arguments if is_config_dir(argument)]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir={folder}: there is no such folder")
    return folders


def in_its_folder(arguments: list[str], folder: Path | None) -> list[str]:
    """Change to the working folder that a sweep was started in; gives the arguments with paths as meant from here."""
    if folder is None or folder.samefile(Path.cwd()):
        return arguments
    absolute = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        path = Path(value.strip("'\""))
        absolute.append(f"{key}={path.absolute()}" if key in ("--config-dir", "plugin") else argument)
    os.chdir(folder)
    return absolute


def is_config_dir(argument: str) -> bool:
    """Does an argument name a folder of more YAML files, as --config-dir=FOLDER?"""
    return argument.startswith("--config-dir=")


def continued_folder(arguments: list[str]) -> tuple[str | None, Path, list[str]]:
    """resume, rerun or refit, the folder it names, and the other arguments; None if none is there.

    Raises:
        ConfigError: they are combined with each other, or with options such as -m.
        CheckpointError: there is no such folder.
    """
    named = [argument for argument in arguments if argument.partition("=")[0] in WORDS]
    if not named:
        return None, Path(), arguments
    word = named[-1].partition("=")[0]
    flags = [argument for argument in arguments if argument.startswith("-") and not is_config_dir(argument)]
    words = {argument.partition("=")[0] for argument in named}
    if flags or len(words) > 1:
        raise ConfigError(f"{word}=: cannot be combined with {(flags or sorted(words - {word}))[0]}")
    value = parse_values(named)[word]
    folder = Path(value or "")
    if not value or not folder.is_dir():
        raise CheckpointError(f"{named[-1]}: {advice_for_folder(word, value or '') or 'there is no such folder'}")
    return word, folder, [argument for argument in arguments if argument not in named]


MOST_SHIFTS = 8  # 17 x 17 passes over the test images


class EvaluationRequest(NamedTuple):
    """What `evaluate.py` was asked to do."""

    runs: list[Path]
    """One run, several whose scores are averaged, or none if a checkpoint is given."""
    checkpoint: Path | None
    robustness: bool
    shifts: int
    """Average the scores over shifts by up to so many pixels, too; 0: do not."""
    settings: dict[str, str | None]
    """Settings that replace the run's own, by dotted key."""


def parse_evaluation(arguments: list[str]) -> EvaluationRequest:
    """The arguments of `evaluate.py`. Raises ConfigError if they are wrong or contradict each other."""
    for argument in arguments:
        if "=" not in argument:
            path = Path(argument)
            hint = f"; did you mean {'checkpoint' if path.is_file() else 'run'}={argument}?" if path.exists() else ""
            raise ConfigError(f"{argument}: expected KEY=VALUE, such as run=RUN_DIR{hint}")
    settings = parse_values(arguments)
    run, checkpoint = settings.pop("run", None), settings.pop("checkpoint", None)
    robustness, shifts = settings.pop("robustness", "false"), settings.pop("shifts", "0")
    if (run is None) == (checkpoint is None):
        raise ConfigError("give either run=RUN_DIR or checkpoint=FILE")
    if robustness not in ("true", "false"):
        raise ConfigError(f"robustness={robustness}: must be true or false")
    if shifts is None or not shifts.isdecimal() or int(shifts) > MOST_SHIFTS:
        raise ConfigError(f"shifts={shifts}: must be a number of pixels, at most {MOST_SHIFTS}")
    runs = _runs(run) if run is not None else []
    if len(runs) > 1 and robustness == "true":
        raise ConfigError("robustness=true: is measured of one run, not of several")
    if len(runs) > 1 and "figures" in settings:
        raise ConfigError(f"figures={settings['figures']}: several runs together have no figures")
    file = Path(checkpoint) if checkpoint else None
    return EvaluationRequest(runs, file, robustness == "true", int(shifts), settings)


def _runs(value: str) -> list[Path]:
    """The folders in RUN_DIR or [RUN_DIR,RUN_DIR,...]."""
    if not (value.startswith("[") and value.endswith("]")) or Path(value).is_dir():
        return [Path(value)]
    runs = [Path(part.strip()) for part in value[1:-1].split(",") if part.strip()]
    if len(runs) < 2:
        raise ConfigError(f"run={value}: give two runs or more in [...], separated by commas")
    for number, run in enumerate(runs):
        if run.resolve() in [earlier.resolve() for earlier in runs[:number]]:
            raise ConfigError(f"run={value}: {run} is there twice")
    return runs
