"""Augmentation of the training images. The options under configs/augment/ are presets of these settings."""

from dataclasses import dataclass
from functools import partial

from .setting import setting

_setting = partial(setting, evaluated=False)


@dataclass
class Augment:
    max_shift: int = _setting(0, "shift by up to this many pixels along each axis; 0: off", at_least=0)
    cutout_size: int = _setting(0, "side of the blanked square in pixels, clipped at the border; 0: off", at_least=0)
    rotation: float = _setting(0.0, "turn by up to this many degrees", at_least=0, at_most=180)
    scaling: float = _setting(0.0, "enlarge or shrink by up to this share", at_least=0, at_most=1)
    shear: float = _setting(0.0, "slant by up to this many degrees", at_least=0, at_most=60)
    translation: float = _setting(0.0, "move by up to this many pixels, also by parts of one", at_least=0)
    elastic: float = _setting(0.0, "deform: standard deviation of the displacements in pixels", at_least=0, at_most=10)
    stroke: float = _setting(0.0, "thicken or thin bright strokes by up to this many pixels", at_least=0, at_most=1)
    mixup: float = _setting(
        0.0,
        "mix each image and its label with another: alpha of the Beta distribution of their shares; 0: off",
        at_least=0,
        at_most=100,
    )
    erasing: float = _setting(0.0, "probability of blanking a rectangle of random size", at_least=0, at_most=1)

    def build(self):
        from ..augment import Augmentation

        return Augmentation(**vars(self))
