"""When to stop before the last epoch."""

from dataclasses import dataclass
from functools import partial

from .setting import setting

_setting = partial(setting, evaluated=False)


@dataclass
class EarlyStopping:
    patience: int | None = _setting(
        None,
        "stop after so many validations, one per epoch by default, without a better `monitor`; null: never",
        at_least=1,
    )
    min_delta: float = _setting(0.0, "the `monitor` is better only if it gains more than this", at_least=0)
