"""Augmentation of the training images. The options under configs/augment/ are presets of these settings."""

from dataclasses import dataclass
from functools import partial

from .setting import setting

_setting = partial(setting, evaluated=False)


@dataclass
class Augment:
    max_shift: int = _setting(0, "shift by up to this many pixels along each axis; 0: off", at_least=0)
    cutout_size: int = _setting(0, "side of the blanked square in pixels, clipped at the border; 0: off", at_least=0)

    def build(self):
        from ..augment import Augmentation

        return Augmentation(**vars(self))
