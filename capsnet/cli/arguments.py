"""Arguments that are not Hydra's: resume=, rerun= and refit= of train.py, and all of evaluate.py."""

from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError, ConfigError
from ..settings.parse import parse_values

WORDS = ("resume", "rerun", "refit")
INSTEAD_OF_A_RUN = ("-c", "--cfg", "-i", "--info")
"""Flags of Hydra's that print something instead of training."""


def multirun_first(arguments: list[str]) -> list[str]:
    """The same arguments with -m at the front, since Hydra does not find it behind settings. sweep=NAME implies it."""
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    others = [argument for argument in arguments if argument not in flags]
    words = {argument.partition("=")[0] for argument in others}
    if "sweep" in words and "sweep=null" not in others and not words & {*WORDS, *INSTEAD_OF_A_RUN}:
        flags.append("--multirun")
    return flags[:1] + others


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
        raise CheckpointError(f"{named[-1]}: there is no such folder")
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
