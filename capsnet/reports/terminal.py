"""Text in the terminal about a run: a summary before it, the outcome after it, an evaluation."""

import dataclasses
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.balance import is_unbalanced
from ..runs.folder import BEST_CHECKPOINT, FIGURES_FOLDER, LAST_CHECKPOINT
from ..runs.record import RunRecord
from ..runs.repetitions import LEAST_DIFFERENCE
from ..settings.augment import Augment
from ..settings.config import Config, name_of
from ..settings.plugins import loaded_plugin
from ..text import aligned, counted, duration, percent, relative

if TYPE_CHECKING:  # loads torch
    from ..data.dataset import Dataset

MOST_CLASSES, WORST_CLASSES = 25, 15
"""With more classes, an evaluation lists only the worst; all of them are in evaluation.json."""


SPLITS = {"train": "training", "val": "validation", "test": "test"}


def run_summary(config: Config, dataset: "Dataset", results: RunRecord, run_dir: Path, processes: int = 1) -> str:
    """What is going to be trained, and where."""
    batches = f"batches of {config.data.batch_size}"
    if processes > 1:
        batches += f" ({-(-config.data.batch_size // processes)} in each of {processes} processes)"
    augment = ", ".join(_augmentations(config.augment))
    counts = ", ".join(f"{count:,} {SPLITS[split]}" for split, count in dataset.counts.items()) + " images"
    return aligned(
        {
            "dataset": f"{dataset.title}, {counts}" + (f", {augment}" if augment else ""),
            "model": _model(config, results.parameters),
            "training": f"{counted(config.trainer.max_epochs, 'epoch')}, {batches}, seed {config.seed}",
            "device": f"{results.device}, {results.precision}",
            "run": relative(run_dir),
        }
    )


def _augmentations(augment: Augment) -> list[str]:
    """What is switched on: max_shift 2, ink (strength 0.5)."""
    own = [f"{key} {value}" for key, value in augment.strengths().items() if value]
    return own + [_with_settings(name, option) for name, option in augment.options.items()]


def _model(config: Config, parameters: int) -> str:
    text = f"{name_of('model', config.model)}, {parameters:,} parameters"
    routed = name_of("routing", config.routing) != "none"
    routing = _with_settings(name_of("routing", config.routing), config.routing)
    return f"{text}, {routing} routing" if routed else text


def _with_settings(name: str, option: Any) -> str:
    """An option's name with its settings: dynamic (iters 3)."""
    settings = ", ".join(f"{field.name} {getattr(option, field.name)}" for field in dataclasses.fields(option))
    return f"{name} ({settings})" if settings else name


def run_outcome(results: RunRecord, run_dir: Path) -> str:
    """How a run ended, and what to do next."""
    rows = {"status": results.status} if results.status != "completed" else {}
    rows |= {
        "best epoch": f"{results.best_epoch or '-'} of {results.epochs}",
        "validation accuracy": percent(results.val_accuracy),
        "test accuracy": percent(results.test_accuracy),
        **_balanced(results),
        "time": f"{duration(results.train_seconds)}, {results.train_images_per_second or 0:,.0f} images/s",
    }
    folder = relative(run_dir)
    if results.status == "interrupted" and (run_dir / LAST_CHECKPOINT).exists():
        rows["continue"] = command("train.py", f"resume={folder}")
    if (run_dir / BEST_CHECKPOINT).exists():
        rows["evaluate"] = command("evaluate.py", f"run={folder}")
    rows["curves"] = f"{_program('tensorboard')} --logdir {shlex.quote(folder)}"
    if (run_dir / FIGURES_FOLDER).is_dir() and results.status == "completed":
        rows["figures"] = f"{folder}/{FIGURES_FOLDER}"
    return aligned(rows)


def _balanced(results: RunRecord) -> dict[str, str]:
    """The balanced accuracy, if it says something else than the accuracy."""
    accuracy, balanced = results.test_accuracy, results.test_balanced_accuracy
    if accuracy is None or balanced is None or abs(accuracy - balanced) < LEAST_DIFFERENCE:
        return {}
    return {"balanced accuracy": percent(balanced)}


def command(script: str, argument: str) -> str:
    """What to type to run one of the project's programs from here, with the plugin if there is one."""
    file = Path(__file__).parents[2] / script
    words = [relative(file) if file.exists() else script, argument]
    if plugin := loaded_plugin():
        words.append(f"plugin={relative(plugin.path)}")
    return " ".join([_program("python"), *map(shlex.quote, words)])


def _program(name: str) -> str:
    """How to call a program of this Python's environment from here."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    return name if found is not None and Path(found) == own else shlex.quote(relative(own))


def evaluation_summary(report: dict[str, Any]) -> str:
    """The content of evaluation.json as a person reads it."""
    names, confusion = report["class_names"], report["confusion"]
    images = sum(map(sum, confusion))
    rows = {"accuracy": f"{report['accuracy']:.2%} of {images:,} images"}
    sizes = [sum(row) for row in confusion]
    if is_unbalanced(sizes):
        rows["balanced accuracy"] = f"{report['balanced_accuracy']:.2%}, the mean over the classes"
    if shifts := report.get("shifts"):
        rows["averaged"] = f"{shifts['accuracy']:.2%}, the scores averaged over {shifts['passes']} shifts of each image"
    rows["loss"] = f"{report['loss']:.4f}"
    by_class = list(enumerate(report["per_class_accuracy"].values()))
    if len(names) > MOST_CLASSES:  # the worst first
        rows["classes"] = f"{len(names)}, of which these {WORST_CLASSES} are recognized worst:"
        tested = [(label, accuracy) for label, accuracy in by_class if accuracy is not None]
        by_class = sorted(tested, key=lambda entry: entry[1])[:WORST_CLASSES]
    for label, accuracy in by_class:
        mistakes = [count if predicted != label else 0 for predicted, count in enumerate(confusion[label])]
        most = max(mistakes)
        often = f"   most often taken for {names[mistakes.index(most)]} ({most})" if most else ""
        rows[f"  {names[label]}"] = "no images" if accuracy is None else f"{accuracy:7.2%}{often}"
    return aligned(rows)
