"""What may be set: every option with its settings, their defaults, ranges and meanings. Imports no torch."""

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "configs"
CONFIGS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "configs"
"""The YAML files: in an installed package within it, in the project's own tree at its top."""
