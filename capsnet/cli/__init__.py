"""The command line: starting a program, composing its config with Hydra, and telling the person what went wrong."""

from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"
