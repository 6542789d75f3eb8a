"""A section of a config that combines several options of its group, in the order given."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from .setting import Setting


@dataclass
class Combination:
    """The chosen options by name. A subclass may have settings of its own beside them."""

    options: dict[str, Any] = field(default_factory=dict)

    default: ClassVar[tuple[str, ...]] = ()
    """The options of a config that says nothing about the section."""
    purpose: ClassVar[Setting] = Setting()
    """What the choice and every setting of an option are for. What is not trained, evaluated or a hyper-parameter here
    is so in no option, whatever the option says."""
