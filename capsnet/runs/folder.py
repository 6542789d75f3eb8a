"""The folder of a run: the names in it, and who may write there."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import CapsNetError, CheckpointError, ConfigError, FolderInUseError
from ..files import remove_empty

BEST_CHECKPOINT, LAST_CHECKPOINT = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
METRICS_FILE = "metrics.csv"
RECORD_FILE = "results.json"
EVALUATION_FILE = "evaluation.json"
LOG_FILE = "train.log"
FIGURES_FOLDER = "figures"
LOCK_FILE = ".lock"
SWEEP_FILE = "multirun.yaml"  # written by Hydra into a sweep's folder

MAX_NAME_BYTES = 200  # of a folder's name; file systems allow 255


def new_folder(wanted: Path) -> Path:
    """Make a folder that did not exist: `wanted`, or that name with a number appended."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for name in itertools.chain([wanted.name], (f"{wanted.name}_{number}" for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            (folder := wanted.with_name(name)).mkdir()
            return folder
    raise AssertionError("there is always a next number")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder of a run or sweep. The lock ends with the process at the latest.

    Raises:
        FolderInUseError: another process has the lock.
    """
    try:
        lock = FileLock(folder / LOCK_FILE, timeout=0, is_singleton=True)  # this process may ask twice
        lock.acquire()
    except Timeout:
        raise FolderInUseError(f"{folder}: another process is working in this folder") from None
    try:
        yield
    finally:
        lock.release()


def refuse_outside_links(folder: Path) -> None:
    """Raise CheckpointError if a symbolic link leads out of a folder: writing there would change files elsewhere."""
    inside = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise CheckpointError(f"{path}: refused, a symbolic link that leads out of the run's folder")


def refuse_existing_run(run_dir: Path) -> None:
    """Raise ConfigError if a folder already has a run."""
    if (run_dir / RECORD_FILE).exists():
        raise ConfigError(f"{run_dir}: already has a run; choose another folder")


@contextlib.contextmanager
def removed_unless_started(run_dir: Path) -> Iterator[None]:
    """Remove the folder of a run if an error or an interrupt comes before the run has its record."""
    try:
        yield
    except FolderInUseError:  # it belongs to another process
        raise
    except (CapsNetError, KeyboardInterrupt):
        if not (run_dir / RECORD_FILE).exists():
            _remove_first_files(run_dir)
        raise


def _remove_first_files(run_dir: Path) -> None:
    """Remove the files that are written before a run has its record, and the folders that are then empty."""
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (run_dir / ".hydra" / name).unlink(missing_ok=True)
    for name in (LOG_FILE, LOCK_FILE):
        (run_dir / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (run_dir / ".hydra").rmdir()
    remove_empty(run_dir)


def curves_folder(run_dir: Path, label: str) -> Path:
    """The folder for a run's TensorBoard file. TensorBoard names curves by their folder.

    Args:
        run_dir: the run's folder; a run that is resumed keeps to the folder it has.
        label: in a sweep, what distinguishes this run from the others, such as "iters=3,dropout=0.5".
    """
    for earlier in sorted(run_dir.glob("**/events.out.tfevents.*")):
        return earlier.parent
    return run_dir / re.sub(r"[^\w.,=+-]", "_", label).encode()[:MAX_NAME_BYTES].decode(errors="ignore")
