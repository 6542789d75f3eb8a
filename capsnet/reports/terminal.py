"""Text in the terminal about a run: a summary before it, the outcome after it, an evaluation."""

import dataclasses
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs.folder import BEST_CHECKPOINT, FIGURES_FOLDER, LAST_CHECKPOINT
from ..runs.measures import SPLITS
from ..runs.record import RunRecord
from ..settings.augment import Augment
from ..settings.config import Config, name_of
from ..settings.plugins import loaded_plugin
from ..text import aligned, counted, duration, is_loss, relative, shown

if TYPE_CHECKING:  # loads torch
    from ..data.dataset import Dataset


def run_summary(
    config: Config, dataset: "Dataset", results: RunRecord, run_dir: Path, processes: int = 1, memory: str = ""
) -> str:
    """What is going to be trained, and where, and the memory that it needs, if that is known."""
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
            "device": f"{results.device}, {results.precision}{_computing(results.computing)}",
            **({"memory": memory} if memory else {}),
            "run": relative(run_dir),
        }
    )


def _augmentations(augment: Augment) -> list[str]:
    """What is switched on: max_shift 2, ink (strength 0.5)."""
    own = [f"{key} {value}" for key, value in augment.strengths().items() if value]
    return own + [_with_settings(name, option) for name, option in augment.options.items()]


def _computing(computing: dict[str, Any]) -> str:
    """What was chosen beside the precision, and how."""
    convolutions = ", convolutions through the Fourier domain" if computing.get("fourier") == "on" else ""
    how = f" ({computing['origin']})" if computing.get("origin") in ("measured", "remembered") else ""
    return convolutions + how


def _model(config: Config, parameters: int) -> str:
    text = f"{name_of('model', config.model)}, {parameters:,} parameters"
    routed = name_of("routing", config.routing) != "none"
    routing = _with_settings(name_of("routing", config.routing), config.routing, defaults=False)
    return f"{text}, {routing} routing" if routed else text


def _with_settings(name: str, option: Any, defaults: bool = True) -> str:
    """An option's name with its settings: ink (strength 0.5), dynamic (iters 3, leaky True).

    Args:
        name, option: of the option.
        defaults: also those settings that have their default; iterations are always shown.
    """
    settings = [
        f"{field.name} {getattr(option, field.name)}"
        for field in dataclasses.fields(option)
        if defaults or field.name == "iters" or getattr(option, field.name) != field.default
    ]
    return f"{name} ({', '.join(settings)})" if settings else name


def run_outcome(results: RunRecord, run_dir: Path) -> str:
    """How a run ended, and what to do next."""
    rows = {"status": results.status} if results.status != "completed" else {}
    rows |= {
        "best epoch": f"{results.best_epoch or '-'} of {results.epochs}",
        **_outcomes(results),
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


def _outcomes(results: RunRecord) -> dict[str, str]:
    """What was monitored, in validation and test; and what else was measured in both, but for the losses."""
    monitored = results.monitor.rpartition("/")[2]
    names = [name.removeprefix("val/") for name in results.metrics if name.startswith("val/")]
    others = [name for name in names if f"test/{name}" in results.metrics and name != monitored and not is_loss(name)]
    return {
        f"{SPLITS[split]} {name.replace('_', ' ')}": shown(name, results.metrics.get(f"{split}/{name}"))
        for name in (monitored, *others)
        for split in ("val", "test")
    }


def command(script: str, argument: str, recorded_plugin: str | None = None) -> str:
    """What to type to run one of the project's programs from here, with the plugin if there is one.

    Args:
        script: train.py or evaluate.py.
        argument: for it.
        recorded_plugin: the path of the plugin that a run was trained with, if none is loaded.
    """
    file = Path(__file__).parents[2] / script
    words = [argument]
    if path := loaded.path if (loaded := loaded_plugin()) else recorded_plugin:
        words.append(f"plugin={relative(Path(path))}")
    own = [_program("python"), shlex.quote(relative(file))] if file.exists() else ["capsnet", Path(script).stem]
    return " ".join([*own, *map(shlex.quote, words)])


def _program(name: str) -> str:
    """How to call a program of this Python's environment from here."""
    own = Path(sys.executable).with_name(name)
    on_path = shutil.which(name)
    return name if on_path is not None and Path(on_path) == own else shlex.quote(relative(own))


def evaluation_summary(report: dict[str, Any], rows: dict[str, str]) -> str:
    """The content of evaluation.json as a person reads it.

    Args:
        report: the content.
        rows: what the task shows of it, by heading; the most important first.
    """
    numbers = {
        name: shown(name, value) for name, value in report.items() if isinstance(value, float) and name != "loss"
    }
    (heading, first), *others = (rows or numbers).items()
    added = {}
    if shifts := report.get("shifts"):
        name = next(name for name in shifts if name in report)
        added["averaged"] = (
            f"{shown(name, shifts[name])}, the scores averaged over {shifts['passes']} shifts of each image"
        )
    return aligned({heading: first, **added, "loss": f"{report['loss']:.4f}", **dict(others)})
