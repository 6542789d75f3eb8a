"""Trained models that come with the project. Each is the folder of a run, without what only training needs."""

from pathlib import Path

from ..errors import CheckpointError
from .folder import BEST_CHECKPOINT

FOLDER = Path(__file__).parents[1] / "shipped"
DEFAULT = "kmnist_7k"


def shipped_names() -> list[str]:
    """The models that there are."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / BEST_CHECKPOINT).is_file())


def is_shipped(run: Path) -> bool:
    """Does a run's folder belong to the project? Then nothing is written there."""
    return FOLDER.resolve() in run.resolve().parents


def find_run(given: str | Path) -> Path:
    """A run's folder or a checkpoint file that somebody named.

    Args:
        given: its path, or the name of a model that comes with the project. A run in a folder of that name goes first.

    Raises:
        CheckpointError: there is none.
    """
    path, names = Path(given), shipped_names()
    if str(given) in names and not (path / BEST_CHECKPOINT).is_file():
        return FOLDER / str(given)
    if path.exists():
        return path
    models = ", ".join(names)
    raise CheckpointError(f"{given}: there is no such run or checkpoint (models that come with the project: {models})")
