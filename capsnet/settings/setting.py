"""A single setting: its default, meaning and range, and what it affects."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError

MAX_INT = 2**63 - 1  # larger sizes overflow in torch
AS_SAVED = object()


@dataclass(frozen=True)
class Setting:
    """What is known about a setting beside its type and default."""

    help: str = ""
    """What it means, in a few words; shown by `--help`, in docs/settings.md and in errors."""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    one_of: tuple[Any, ...] | None = None
    """The values allowed."""
    check: Callable[[Any], bool] | None = None
    """Says if a value is allowed, where bounds cannot; `help` then says what is allowed."""
    trained: bool = True
    """It changes what is trained, so a resumed or repeated run cannot change it."""
    extends: bool = False
    """Says how long to train, so a resumed run may raise it."""
    evaluated: bool = True
    """Has an effect on an evaluation, so `evaluate.py` accepts it."""
    hyperparameter: bool = True
    """Shown in TensorBoard's HPARAMS."""
    when_saved: Any = AS_SAVED
    """Replaces the value that a saved config has, unless the command line sets it. For settings that reach out of the
    run's folder: nothing is downloaded because a saved config asks for it."""

    def check_value(self, key: str, value: Any) -> None:
        """Raise ConfigError if a value is out of range. None is always in range: the type says if it is allowed."""
        if value is None:
            return
        if self.one_of is not None and value not in self.one_of:
            raise ConfigError(f"{key}={_as_yaml(value)}: must be one of {', '.join(map(_as_yaml, self.one_of))}")
        if self.check is not None and not self.check(value):
            raise ConfigError(f"{key}={value}: must be {self.help}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value}: must be a finite number")
        if isinstance(value, int) and abs(value) > MAX_INT:
            raise ConfigError(f"{key}={value}: must be at most {MAX_INT}")
        if not (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        ):
            raise ConfigError(f"{key}={value}: must be {self.range}")

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that there are, by name, such as "at least"."""
        bounds = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    @property
    def range(self) -> str:
        """at least 0 and below 1."""
        return " and ".join(
            f"{name} {bound if isinstance(bound, int) else format(bound, 'g')}" for name, bound in self.bounds.items()
        )


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def setting(default: Any, help: str, **known: Any) -> Any:
    """A dataclass field for a setting, with its meaning and range.

    Args:
        default: value if you do not set it.
        help: what it means, in a few words.
        known: bounds, and what else is known about it: the fields of `Setting`.
    """
    return dataclasses.field(default=default, metadata={"setting": Setting(help, **known)})


def setting_of(field: dataclasses.Field) -> Setting:
    """What is known about a dataclass field; a plain one has no range."""
    return field.metadata.get("setting", Setting())
