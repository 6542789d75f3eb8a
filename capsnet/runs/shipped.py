"""Trained models that come with the project. Each is the folder of a run, without what only training needs."""

from pathlib import Path

from ..errors import CheckpointError

FOLDER = Path(__file__).parents[1] / "shipped"
DEFAULT = "kmnist_7k"


def shipped_names() -> list[str]:
    """The models that there are."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / "checkpoints").is_dir())


def is_shipped(run: Path) -> bool:
    """Does a run's folder belong to the project? Then nothing is written there."""
    return FOLDER in run.absolute().parents


def find_run(given: str | Path) -> Path:
    """A run's folder or a checkpoint file that somebody named.

    Args:
        given: its path, or the name of a model that comes with the project.

    Raises:
        CheckpointError: there is none.
    """
    path, names = Path(given), shipped_names()
    if path.exists():
        return path
    if str(given) in names:
        return FOLDER / str(given)
    raise CheckpointError(f"{given}: there is no such run or checkpoint (with the project comes {', '.join(names)})")
