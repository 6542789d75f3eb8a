"""Arguments that are not Hydra's: resume=, rerun= and refit=."""

from pathlib import Path

from ..errors import CheckpointError, ConfigError
from ..settings.parse import parse_values

WORDS = ("resume", "rerun", "refit")


def multirun_first(arguments: list[str]) -> list[str]:
    """The same arguments with -m at the front, since Hydra does not find it behind settings."""
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    return flags[:1] + [argument for argument in arguments if argument not in flags]


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
    flags = [argument for argument in arguments if argument.startswith("-")]
    words = {argument.partition("=")[0] for argument in named}
    if flags or len(words) > 1:
        raise ConfigError(f"{word}=: cannot be combined with {(flags or sorted(words - {word}))[0]}")
    value = parse_values(named)[word]
    folder = Path(value or "")
    if not value or not folder.is_dir():
        raise CheckpointError(f"{named[-1]}: there is no such folder")
    return word, folder, [argument for argument in arguments if argument not in named]
