"""The folder of a run: the names in it, and who may write there."""

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import CapsNetError, ConfigError, FolderInUseError
from ..files import make_folder, remove_made_folder

BEST_CHECKPOINT, LAST_CHECKPOINT = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
METRICS_FILE = "metrics.csv"
RECORD_FILE = "results.json"
EVALUATION_FILE = "evaluation.json"
ROBUSTNESS_FILE = "robustness.csv"
LOG_FILE = "train.log"
FIGURES_FOLDER = "figures"
EVALUATIONS_FOLDER = "evaluations"  # on other images, or of other checkpoints, than in the run's own test
LOCK_FILE = ".lock"
SWEEP_FILE = "multirun.yaml"  # written by Hydra into a sweep's folder

JOB_NAME = re.compile(r"(\d+)(?![^_])")  # of a sweep's job: its number, alone or followed by _ and anything
MAX_NAME_BYTES = 200  # of a folder's name; file systems allow 255


def new_folder(wanted: Path) -> Path:
    """Make a folder that did not exist: `wanted`, or that name with a number appended."""
    for name in itertools.chain([wanted.name], (f"{wanted.name}_{number}" for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            make_folder(folder := wanted.with_name(name), exist_ok=False)
            return folder
    raise AssertionError("there is always a next number")


def checkpoint_path(given: Path) -> Path:
    """The best checkpoint of a run's folder, or the checkpoint file that was given."""
    return given / BEST_CHECKPOINT if given.is_dir() else given


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder of a run or sweep. If the process dies, the lock ends with it.

    Raises:
        FolderInUseError: another process has the lock.
    """
    try:
        lock = FileLock(folder / LOCK_FILE, timeout=0, is_singleton=True)  # this process may ask twice
        lock.acquire()
    except Timeout:
        raise FolderInUseError(f"{folder}: in use by another process") from None
    try:
        yield
    finally:
        lock.release()


def refuse_existing_run(run_dir: Path) -> None:
    """Raise ConfigError if a folder already has a run."""
    if (run_dir / RECORD_FILE).exists():
        raise ConfigError(f"{run_dir}: already has a run; choose another folder, or go on by resume={run_dir}")


def refuse_foreign_files(folder: Path, sweep: bool = False) -> None:
    """Raise ConfigError if a folder has a file with one of the names that a run, or a sweep, writes there.

    A run that was killed before it had a record, and a sweep, may be started again in their folder: the runner's lock
    is there.

    Args:
        folder: need not exist.
        sweep: it is for a sweep rather than for a run.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder")
    if not sweep:
        refuse_existing_run(folder)
    names = {path.name for path in folder.iterdir()}
    taken = sorted(name for name in names if (_is_sweep_name(name) if sweep else _is_run_name(name)))
    begun = SWEEP_FILE in names if sweep else set(taken) <= {LOCK_FILE, ".hydra"}
    if (begun or taken == [LOCK_FILE]) and _has_own_lock(folder):
        return
    if taken:
        raise ConfigError(f"{folder}: already has {taken[0]}, which would be overwritten; choose another folder")


def _has_own_lock(folder: Path) -> bool:
    """Is there a lock like the runner's, which is empty?"""
    lock = folder / LOCK_FILE
    return lock.is_file() and lock.stat().st_size == 0


def _is_run_name(name: str) -> bool:
    own = {".hydra", LOCK_FILE, LOG_FILE, METRICS_FILE, RECORD_FILE, EVALUATION_FILE, ROBUSTNESS_FILE}
    return name in own | {FIGURES_FOLDER, LAST_CHECKPOINT.parts[0]} or name.startswith("events.out.tfevents.")


def _is_sweep_name(name: str) -> bool:
    own = {LOCK_FILE, SWEEP_FILE, "sweep.json", "sweep.csv", "summary.csv", "sweep.png", "study.db", ".submitit"}
    return name in own or JOB_NAME.match(name) is not None


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
    """Remove the files that are written before a run has its record, and the folders that were made for it."""
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (run_dir / ".hydra" / name).unlink(missing_ok=True)
    (run_dir / LOCK_FILE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (run_dir / ".hydra").rmdir()
    remove_made_folder(run_dir)


def remove_drafts(run_dir: Path) -> None:
    """Remove unfinished drafts of a run's own files, left by a process that was killed. See `files.atomic_write`."""
    own = (RECORD_FILE, METRICS_FILE, EVALUATION_FILE, ROBUSTNESS_FILE, BEST_CHECKPOINT, LAST_CHECKPOINT)
    for pattern in (*own, Path(FIGURES_FOLDER, "*.png")):
        for draft in run_dir.glob(f"{pattern}.*.part"):
            if draft.name.split(".")[-2].isdecimal():
                draft.unlink(missing_ok=True)


def curves_folder(run_dir: Path, label: str) -> Path:
    """The folder for a run's TensorBoard file. TensorBoard names curves by their folder.

    Args:
        run_dir: the run's folder; a run that is resumed keeps to the folder it has.
        label: in a sweep, what distinguishes this run from the others, such as "iters=3,dropout=0.5".
    """
    for earlier in sorted([*run_dir.glob("events.out.tfevents.*"), *run_dir.glob("*/events.out.tfevents.*")]):
        return earlier.parent
    return run_dir / re.sub(r"[^\w.,=+-]", "_", label).encode()[:MAX_NAME_BYTES].decode(errors="ignore")
