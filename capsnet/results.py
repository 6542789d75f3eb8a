"""A run's record: results.json, metrics.csv, and what is needed to know where a number came from."""

import contextlib
import csv
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .errors import CapsNetError, CheckpointError, ConfigError

METRICS = ("loss", "margin_loss", "reconstruction_loss", "accuracy")
"""What is measured on every split."""
BEST_CHECKPOINT, LAST_CHECKPOINT = Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt")
LOCK_FILE = ".lock"
LONGEST_NAME = 200  # bytes; file systems allow 255
METRICS_FILE = "metrics.csv"
RESULTS_FILE = "results.json"
METRICS_COLUMNS = ("epoch", "step", "lr", *(f"{split}/{name}" for split in ("train", "val") for name in METRICS))

RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "tensorboard",
    "numpy",
    "scikit-learn",
)


@dataclass
class RunResults:
    """The content of results.json; what is not known yet, or does not apply, is None."""

    status: str
    """running, completed, interrupted, diverged or failed."""
    dataset: dict[str, Any]
    """name, official (whether the files are those of the official release), sha256, files, and counts by split."""
    overrides: list[str]
    seed: int
    parameters: int
    device: str
    precision: str
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None = None
    """Whether tracked files of the code differed from that commit."""
    config_sha256: str | None = None
    """Digest of the settings that have a part in what is trained: `config.config_digest`."""
    reason: str | None = None
    """Why it failed or diverged."""
    epochs: int = 0
    """Epochs trained to their end."""
    best_epoch: int | None = None
    """Counted from 1."""
    val_accuracy: float | None = None
    """Best over the epochs, as a fraction."""
    test_accuracy: float | None = None
    """Of the best checkpoint."""
    test_loss: float | None = None
    train_seconds: float = 0.0
    """Wall time of training and validation, without start-up and test."""
    train_images_per_second: float | None = None
    """In the training part of the epochs, data and logging included."""

    def write(self, run_dir: Path) -> None:
        write_json(run_dir / RESULTS_FILE, asdict(self))


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft beside a file, which takes its place once it is written; where that fails, the draft goes."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")  # other processes may write the same file
    draft.unlink(missing_ok=True)  # a link would lead elsewhere
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all; numbers that JSON does not know (NaN, infinity) become null."""
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_record(run_dir: Path) -> dict[str, Any]:
    """The content of a run's results.json. Raises CheckpointError where there is none, or it is damaged."""
    path = run_dir / RESULTS_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{run_dir}: holds no run (no {RESULTS_FILE})") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a run's record ({error})") from error
    if not isinstance(record, dict) or not isinstance(record.get("status"), str):
        raise CheckpointError(f"{path}: not a run's record")
    return record


def curves_folder(run_dir: Path, swept: dict[str, str]) -> Path:
    """Where a run's TensorBoard file goes, since TensorBoard names curves by their folder.

    Args:
        run_dir: the run's folder.
        swept: in a sweep, what tells this run from the others, by key; they make the name of a folder inside.
    """
    name = ",".join(f"{key}={value}" for key, value in swept.items())
    return run_dir / re.sub(r"[^\w.,=+-]", "_", name).encode()[:LONGEST_NAME].decode(errors="ignore")


def new_folder(wanted: Path) -> Path:
    """Make a folder that was not there: the one that is wanted, or that with a number behind its name."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for name in itertools.chain([wanted.name], (f"{wanted.name}_{number}" for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            (folder := wanted.with_name(name)).mkdir()
            return folder
    raise AssertionError("there is always a next number")


class BusyError(ConfigError):
    """Another process is at work in the folder."""


@contextlib.contextmanager
def alone_in(run_dir: Path) -> Iterator[None]:
    """Keep others from working in the folder of a run or sweep meanwhile; the lock ends with the process in any case.

    Raises:
        BusyError: another one is at work there.
    """
    try:
        lock = FileLock(run_dir / LOCK_FILE, timeout=0, is_singleton=True)  # this process may ask twice
        lock.acquire()
    except Timeout:
        raise BusyError(f"{run_dir}: another process is at work in this folder") from None
    try:
        yield
    finally:
        lock.release()


def refuse_links(run_dir: Path) -> None:
    """Raise CheckpointError where a link leads out of a run's folder: what is written there would go elsewhere."""
    inside = os.path.realpath(run_dir)
    for folder, folders, files in os.walk(run_dir):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
                raise CheckpointError(f"{path}: refused, a symbolic link that leads out of the run's folder")


def recorded_overrides(record: dict[str, Any]) -> list[str]:
    """The overrides in a run's record; none where it holds no list."""
    overrides = record.get("overrides")
    return list(map(str, overrides)) if isinstance(overrides, list) else []


def refuse_used(run_dir: Path) -> None:
    """Raise ConfigError where a folder holds a run already."""
    if (run_dir / RESULTS_FILE).exists():
        raise ConfigError(f"{run_dir}: holds a run already; choose another folder")


def remove_empty(folder: Path) -> None:
    """Remove a folder, and those around it up to the current one, as long as they are empty."""
    here = Path.cwd()
    inside = [outer for outer in folder.absolute().parents if here in outer.parents]
    with contextlib.suppress(OSError):  # the first one that is not empty ends it
        for path in (folder, *inside):
            path.rmdir()


@contextlib.contextmanager
def removed_if_unused(run_dir: Path) -> Iterator[None]:
    """Take the folder of a run away again where an error or an interrupt comes before the run has begun."""
    try:
        yield
    except BusyError:  # it is another's
        raise
    except (CapsNetError, KeyboardInterrupt):
        if not (run_dir / RESULTS_FILE).exists():
            _remove_beginnings(run_dir)
        raise


def _remove_beginnings(run_dir: Path) -> None:
    """Remove what is written into a folder before its run begins, and the folders that are empty then."""
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (run_dir / ".hydra" / name).unlink(missing_ok=True)
    for name in ("train.log", LOCK_FILE):
        (run_dir / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (run_dir / ".hydra").rmdir()
    remove_empty(run_dir)


def started_with_others() -> bool:
    """Did torchrun or SLURM start all the processes of this training, with their places in the environment?"""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) > 1


def combined_digest(files: dict[str, str]) -> str:
    """One sha256 for several files: that of `sha256sum`'s lines over them, sorted by name."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("capsnet", *RECORDED_PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_state() -> dict[str, Any]:
    """git_commit of the code that runs, and git_dirty: whether tracked files were changed. None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": changed}
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": None, "git_dirty": None}


def append_metrics(path: Path, row: dict[str, float]) -> None:
    """Add an epoch's row to metrics.csv; what was not measured stays empty."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, METRICS_COLUMNS, restval="", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def keep_metrics(path: Path, epochs: int) -> None:
    """Keep the rows of the first `epochs` epochs alone: those after belong to a part of the run that is done again."""
    if not path.exists():
        return
    head, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    kept = [row for row in rows if row.split(",")[0].isdigit() and int(row.split(",")[0]) <= epochs]
    if not kept:
        path.unlink()
        return
    with whole_file(path) as draft:
        draft.write_text("".join([head, *kept]), encoding="utf-8")


def read_metrics(path: Path) -> dict[str, list[float]]:
    """metrics.csv by column; a value that was not measured in an epoch is NaN. Empty where there is no file.

    Raises:
        CheckpointError: the file is not a table of numbers.
    """
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = {key: [float(row[key] or "nan") for row in rows] for key in (rows[0] if rows else {})}
        if columns and "epoch" not in columns:
            raise ValueError("no column epoch")
        return columns
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"{path}: not a readable table of metrics ({error}); remove it to go on without"
        ) from error
