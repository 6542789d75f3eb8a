"""What a person at the terminal reads of a run: a summary before it, the outcome after it, an evaluation."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import Config
from .results import BEST_CHECKPOINT, RunResults

if TYPE_CHECKING:
    from .data import ImageDataModule


def percent(value: float | None) -> str:
    """A fraction as a person reads it; a dash where there is none."""
    return "-" if value is None else f"{value:.2%}"


def counted(count: int, thing: str) -> str:
    """3 epochs, 1 epoch."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.1 s, 12 min 40 s, 3 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def aligned(rows: dict[str, str]) -> str:
    """Names and values in two columns, a line each."""
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())


def run_summary(config: Config, data: "ImageDataModule", results: RunResults, run_dir: Path, processes: int = 1) -> str:
    batches = f"batches of {config.data.batch_size}"
    if processes > 1:
        batches += f" ({-(-config.data.batch_size // processes)} in each of {processes} processes)"
    augment = ", ".join(f"{key} {value}" for key, value in data.augmentation._asdict().items() if value)
    return aligned(
        {
            "dataset": f"{data.title}, {_counts(data.counts)}" + (f", {augment}" if augment else ""),
            "model": f"CapsNet, {results.parameters:,} parameters,"
            f" {config.routing.name} routing, {config.routing.iters} iterations",
            "training": f"{counted(config.trainer.max_epochs, 'epoch')}, {batches}, seed {config.seed}",
            "device": f"{results.device}, {results.precision}",
            "run": relative(run_dir),
        }
    )


def _counts(counts: dict[str, int]) -> str:
    names = {"train": "training", "val": "validation", "test": "test"}
    return ", ".join(f"{count:,} {names[split]}" for split, count in counts.items()) + " images"


def run_outcome(results: RunResults, run_dir: Path) -> str:
    rows = {"status": results.status} if results.status != "completed" else {}
    rows |= {
        "best epoch": f"{results.best_epoch or '-'} of {results.epochs}",
        "validation accuracy": percent(results.val_accuracy),
        "test accuracy": percent(results.test_accuracy),
        "time": f"{duration(results.train_seconds)}, {results.train_images_per_second or 0:,.0f} images/s",
    }
    folder = relative(run_dir)
    if (run_dir / BEST_CHECKPOINT).exists():
        rows["evaluate"] = evaluate_command(run_dir)
    rows["curves"] = f"{_program('tensorboard')} --logdir {shlex.quote(folder)}"
    if results.status == "completed":
        rows["figures"] = f"{folder}/figures"
    return aligned(rows)


def evaluate_command(run_dir: Path) -> str:
    """What to type to score a run's best checkpoint."""
    return f"{_program('python')} {_evaluate_script()} {shlex.quote(f'run={relative(run_dir)}')}"


def _program(name: str) -> str:
    """How to call a program of this Python's environment from here."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    return name if found is not None and Path(found) == own else shlex.quote(relative(own))


def _evaluate_script() -> str:
    script = Path(sys.argv[0]).absolute().with_name("evaluate.py")
    return shlex.quote(relative(script)) if script.exists() else "evaluate.py"


def relative(path: Path) -> str:
    """A path as a person here would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def evaluation_summary(report: dict[str, Any]) -> str:
    """The content of evaluation.json as a person reads it."""
    names, confusion = report["class_names"], np.array(report["confusion"])
    mistakes = confusion - np.diag(confusion.diagonal())
    rows = {"accuracy": f"{report['accuracy']:.2%} of {int(confusion.sum()):,} images", "loss": f"{report['loss']:.4f}"}
    for name, accuracy, row in zip(names, report["per_class_accuracy"].values(), mistakes, strict=True):
        often = f"   most often taken for {names[int(row.argmax())]} ({int(row.max())})" if row.any() else ""
        rows[f"  {name}"] = "no images" if accuracy is None else f"{accuracy:7.2%}{often}"
    return aligned(rows)
