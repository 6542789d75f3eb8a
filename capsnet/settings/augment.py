"""Augmentation of the training images. The options under configs/augment/ are presets of these settings.

`augment=[strong,mixup]` takes both; where two presets set the same key, the later one wins. A plugin can add options
with settings of their own, as in `augment=[strong,ink] augment.ink.strength=0.5`. They are applied in the order
given, after the kinds that these settings switch on, and before mixup.
"""

from dataclasses import dataclass, fields
from functools import partial

from .combination import Combination
from .setting import Setting, setting

_setting = partial(setting, evaluated=False)


@dataclass
class Augment(Combination):
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
    flip: float = _setting(0.0, "probability of swapping left and right", at_least=0, at_most=1)
    brightness: float = _setting(0.0, "brighten or darken by up to this share", at_least=0, at_most=1)
    contrast: float = _setting(0.0, "raise or lower the contrast by up to this share", at_least=0, at_most=1)
    color: float = _setting(0.0, "make colors stronger or paler by up to this share", at_least=0, at_most=1)

    purpose = Setting(evaluated=False)

    def build(self):
        from ..augment import Augmentation

        added = {name: option.build() for name, option in self.options.items()}
        return Augmentation(**self.strengths(), added=added)

    def strengths(self) -> dict[str, float]:
        """The settings of the project's own kinds, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "options"}


OPTIONS: dict[str, type] = {}
"""Options beside the presets, each with a section of its own."""
