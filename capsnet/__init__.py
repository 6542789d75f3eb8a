"""Capsule networks: train, evaluate and look at them.

    from capsnet import CapsNet, dynamic_routing, squash, margin_loss

The names are loaded when they are first asked for, so that a command line can check its settings before torch starts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .losses import margin_loss as margin_loss
    from .losses import reconstruction_loss as reconstruction_loss
    from .model import CapsNet as CapsNet
    from .model import CapsNetOutput as CapsNetOutput
    from .routing import dynamic_routing as dynamic_routing
    from .routing import squash as squash

_HOMES = {
    "CapsNet": ".model",
    "CapsNetOutput": ".model",
    "dynamic_routing": ".routing",
    "squash": ".routing",
    "margin_loss": ".losses",
    "reconstruction_loss": ".losses",
}

__all__ = list(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
