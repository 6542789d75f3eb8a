"""What people type who come from other programs, and what to type here."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from ..runs.folder import RECORD_FILE, SWEEP_FILE
from ..settings.config import ALL_OPTIONS
from ..settings.foreign import SECTIONS
from ..settings.hints import of_other_projects

CHOSEN = {*ALL_OPTIONS, *SECTIONS, "trainer", "experiment", "sweep"}
"""What is chosen by GROUP=NAME."""

_NUMBERS = re.compile(r"(-?\d+)(?:\.\.|:)(-?\d+)")


def refuse_flags(flags: Sequence[str], following: str | None) -> None:
    """Raise ConfigError for a flag that there is not: settings have none.

    Args:
        flags: those that are unknown; the first is explained.
        following: the argument behind it, which may be its value.
    """
    for flag in flags:
        key, equals, value = flag.lstrip("-").partition("=")
        if not equals and following is not None and "=" not in following:
            value, flag = following, f"{flag} {following}"
        key = key.replace("-", "_")
        instead = of_other_projects(key, value or "VALUE") or f"write {key}={value or 'VALUE'}"
        raise ConfigError(f"{flag}: settings are given as KEY=VALUE, without dashes; {instead}")


def refuse_words(overrides: Sequence[str], words: Sequence[str]) -> None:
    """Raise ConfigError for something that is not KEY=VALUE, or in another program's form.

    Args:
        overrides: of the command line.
        words: such as resume, which name a folder.
    """
    for number, override in enumerate(overrides):
        key, equals, value = override.partition("=")
        following = overrides[number + 1] if number + 1 < len(overrides) else None
        if not equals and not override.startswith("~"):
            raise ConfigError(f"{override}{_not_a_setting(override, following, words)}")
        if key.startswith("+") and key.lstrip("+") in CHOSEN:
            raise ConfigError(f"{override}: leave out the +: {override.lstrip('+')}")
        if numbers := _NUMBERS.fullmatch(value):
            first, last = numbers.groups()
            raise ConfigError(
                f"{override}: whole numbers from {first} to {last} are '{key}=range({first},{int(last) + 1})', with -m"
            )


def _not_a_setting(word: str, following: str | None, words: Sequence[str]) -> str:
    if word in words and following is not None and "=" not in following:
        return f" {following}: write {word}={following}"
    if (Path(word) / SWEEP_FILE).exists() or (Path(word) / RECORD_FILE).exists():
        return f": settings are given as KEY=VALUE; resume={word} continues it"
    return ": settings are given as KEY=VALUE, such as routing.iters=3"


def advice_for_folder(word: str, value: str) -> str | None:
    """What to say about a path that is no folder of a run, behind resume= and the like; None if nothing special."""
    path = Path(value)
    if path.suffix == ".ckpt" and path.parent.name == "checkpoints":
        return f"give the run's folder: {word}={path.parent.parent}"
    return None
