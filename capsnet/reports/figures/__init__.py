"""Figures of a run and of a sweep: each function returns a matplotlib Figure, and `save` writes it as a PNG file."""

import logging

# Set before matplotlib is imported, because it logs about fonts on import, which does not belong into a run's log.
logging.getLogger("matplotlib").setLevel(logging.WARNING)
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

from .comparison import MOST_NETWORKS, comparison  # noqa: E402
from .confusion import confusion  # noqa: E402
from .curves import curves  # noqa: E402
from .fonts import display_names  # noqa: E402
from .mistakes import MOST_MISTAKES, mistakes  # noqa: E402
from .pairs import pairs  # noqa: E402
from .perturbations import perturbations  # noqa: E402
from .reconstructions import reconstructions  # noqa: E402
from .robustness import robustness  # noqa: E402
from .style import save  # noqa: E402
from .sweep import Group, sweep_panels  # noqa: E402

__all__ = [
    "MOST_MISTAKES",
    "MOST_NETWORKS",
    "Group",
    "comparison",
    "confusion",
    "curves",
    "display_names",
    "mistakes",
    "pairs",
    "perturbations",
    "reconstructions",
    "robustness",
    "save",
    "sweep_panels",
]
