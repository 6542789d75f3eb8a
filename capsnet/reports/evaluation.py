"""The report on a trained network: its scores on the test images, and figures of them."""

import copy
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data.batches import Batches
from ..data.dataset import Dataset, changed_files, recorded_training_images
from ..errors import CheckpointError, ConfigError, DivergedError
from ..files import read_json, write_json
from ..runs.checkpoints import load_checkpoint, restored_network
from ..runs.folder import (
    BEST_CHECKPOINT,
    EVALUATION_FILE,
    EVALUATIONS_FOLDER,
    FIGURES_FOLDER,
    MAX_NAME_BYTES,
    METRICS_FILE,
    RECORD_FILE,
    ROBUSTNESS_FILE,
)
from ..runs.metrics import read_metrics
from ..runs.saved_config import warn_of_changed_plugin
from ..settings.config import (
    Config,
    Monitor,
    as_dict,
    build_loss,
    build_metrics,
    leaves,
    measured_by,
    monitor_of,
    name_of,
    untrained_keys,
)
from ..tasks.task import Task, Tested
from ..text import on_one_line, relative, shown
from .averaged_scores import class_scores
from .distortions import UNITS
from .robustness import Point, by_distortion, measure_robustness, write_robustness
from .scores import outputs_of_scores, score, score_outputs

log = logging.getLogger(__name__)

SCORING_BATCH = 250  # forward passes only; not data.batch_size, so that training settings do not change scores


class Evaluation(NamedTuple):
    """What an evaluation found."""

    report: dict[str, Any]
    """The content of evaluation.json."""
    figures: dict[str, bytes]
    """PNG files by name; none if `figures=false`."""
    rows: dict[str, str]
    """What the terminal shows of the report beside the loss, by heading; see `Task.rows`."""
    images_per_second: float
    robustness: Sequence[Point] = ()
    """The content of robustness.csv; empty if it was not measured."""
    metric: str = ""
    """What robustness.csv has."""


def find_checkpoint(run: str | Path | None, checkpoint: str | Path | None) -> tuple[Path, Path]:
    """The checkpoint to evaluate, and the folder of its run.

    Args:
        run: a run's folder, whose best checkpoint is meant; or None.
        checkpoint: a checkpoint file, if no run is given.

    Raises:
        CheckpointError: there is no such run.
    """
    if run is not None:
        if not Path(run).is_dir():
            raise CheckpointError(f"run={run}: there is no such folder")
        return Path(run, BEST_CHECKPOINT), Path(run)
    assert checkpoint is not None
    folder = Path(checkpoint).parent
    return Path(checkpoint), folder.parent if folder.name == BEST_CHECKPOINT.parent.name else folder


def evaluate_checkpoint(
    checkpoint: Path,
    run_dir: Path,
    overrides: dict[str, str | None] | None = None,
    robustness: bool = False,
    shifts: int = 0,
) -> Evaluation:
    """Score a checkpoint on its dataset's test images; write evaluation.json and the figures.

    The report of a run's own test goes into its folder, any other one beside it, see `report_folder`.

    Args:
        checkpoint: a file that training wrote; it holds the run's config beside the weights.
        run_dir: the run's folder; its metrics.csv is used if there is one.
        overrides: settings by dotted key that replace the run's own, such as {"data.root": "/elsewhere"}.
        robustness: measure it on distorted test images as well; write robustness.csv and its figure.
        shifts: also average the scores over shifts by up to so many pixels; 0: do not.

    Raises:
        CheckpointError: the file is missing, damaged, contains code, or does not fit the dataset.
        ConfigError, DataError: an override is wrong, or the dataset cannot be read.
    """
    overrides = overrides or {}
    trained = load_with_test_images(checkpoint, overrides)
    config, network, dataset, epoch, _ = trained
    differences = changed_data(trained)
    folder = report_folder(run_dir, checkpoint, overrides, bool(differences))
    _refuse_foreign_report(folder)
    if folder != run_dir:
        log.info("The report goes to %s, and that of the run's own test stays", relative(folder))
    evaluation = evaluate(network, dataset, config, folder, checkpoint, epoch, differences, shifts, run_dir)
    if robustness:
        points = _measure_robustness(network, dataset, evaluation.report, config, folder)
        return evaluation._replace(robustness=points, metric=config.task.monitor)
    return evaluation


def report_folder(run_dir: Path, checkpoint: Path, overrides: dict[str, str | None], other_data: bool) -> Path:
    """Where the report of an evaluation goes: into the run's folder, or into one inside it that says what differs.

    Args:
        run_dir: the run's folder.
        checkpoint: that is scored.
        overrides: settings that replace the run's own.
        other_data: the images are not those that the run was tested on.
    """
    if not (run_dir / RECORD_FILE).exists():
        return run_dir
    same = untrained_keys() if not other_data else {"figures", "plugin"}
    differing = [] if checkpoint.name == BEST_CHECKPOINT.name else [f"checkpoint={checkpoint.stem}"]
    differing += [f"{key}={value}" for key, value in overrides.items() if key not in same]
    if not differing and not other_data:
        return run_dir
    name = re.sub(r"[^\w.,=+-]+", "_", ",".join(differing) or "other images")
    return run_dir / EVALUATIONS_FOLDER / name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")


class NetworkWithTestImages(NamedTuple):
    """A trained network with the test images it is scored on."""

    config: Config
    network: nn.Module
    """On the GPU if there is one."""
    dataset: Dataset
    """Its test images have been read."""
    epoch: int
    """Counted from 1."""
    trained_on: dict[str, Any]
    """See `Dataset.record`."""


def load_with_test_images(checkpoint: Path, overrides: dict[str, str | None]) -> NetworkWithTestImages:
    """The network and the dataset that a checkpoint describes. Raises as `evaluate_checkpoint` does."""
    saved = load_checkpoint(checkpoint, {"figures": "true", **overrides})
    _refuse_without_effect(saved.config, overrides)
    warn_of_changed_plugin(saved.plugin_sha256, checkpoint)
    dataset = saved.config.data.build(saved.config.seed, recorded_training_images(saved.dataset))
    log.info("Scoring %s (epoch %d) on the test images of %s", checkpoint, saved.epoch, dataset.name)
    dataset.read_test_images()
    network = restored_network(saved, dataset.image_shape, len(dataset.class_names), checkpoint)
    return NetworkWithTestImages(saved.config, network, dataset, saved.epoch, saved.dataset)


def test_batches(network: nn.Module, dataset: Dataset, task: Task) -> Batches:
    """The items that a network is tested on, on its device."""
    return Batches(
        dataset.read_test_images(),
        SCORING_BATCH,
        next(network.parameters()).device,
        classes=len(dataset.class_names),
        composition=task,
    )


def _measure_robustness(
    network: nn.Module, dataset: Dataset, report: dict[str, Any], config: Config, folder: Path
) -> list[Point]:
    """Measure robustness; write robustness.csv and, if wanted, figures/robustness.png."""
    task, monitor = config.task.build(), config.task.monitor
    batches, loss = test_batches(network, dataset, task), build_loss(config.loss)
    points = measure_robustness(network, batches, task, loss, monitor, report, report["epoch"])
    write_robustness(folder / ROBUSTNESS_FILE, points)
    if config.figures:
        from . import figures  # loads matplotlib

        figure = figures.robustness(by_distortion(points), UNITS, dataset.title, config.task.monitor)
        (folder / FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)
        figures.save(figure, folder / FIGURES_FOLDER / "robustness.png")
    return points


def _refuse_foreign_report(report_dir: Path) -> None:
    """Raise ConfigError if a report would replace files that are not from an earlier one of a run or checkpoint."""
    if (report_dir / RECORD_FILE).exists():
        return
    taken = [name for name in (EVALUATION_FILE, ROBUSTNESS_FILE, FIGURES_FOLDER) if (report_dir / name).exists()]
    if taken and not _is_own_report(report_dir / EVALUATION_FILE):
        raise ConfigError(f"{report_dir / taken[0]}: would be overwritten; move the checkpoint to a folder of its own")


def _is_own_report(path: Path) -> bool:
    try:
        return {"checkpoint", "config"} <= read_json(path).keys()
    except (OSError, ValueError, AttributeError):
        return False


def changed_data(trained: NetworkWithTestImages) -> list[str]:
    """A sentence, said to the person as well, if files of the dataset are not what they were in training; or nothing.

    Another dataset, which somebody has asked for, is no change.
    """
    before, now = trained.trained_on, trained.dataset.record()
    if before.get("name") != now["name"]:
        return []
    if not (changed := changed_files(before, now)):
        return []
    sentence = f"data={now['name']}: {', '.join(changed)} changed since the network was trained"
    log.warning("%s", sentence)
    return [sentence]


def _refuse_without_effect(config: Config, overrides: dict[str, str | None]) -> None:
    """Raise ConfigError for an override that only matters in training."""
    for key, value in overrides.items():
        named = [setting for leaf, _, setting in leaves(config) if leaf == key or leaf.startswith(f"{key}.")]
        if not any(setting.evaluated for setting in named):
            raise ConfigError(f"{key}={value}: has no effect on an evaluation")


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    config: Config,
    folder: Path,
    checkpoint: Path,
    epoch: int | None,
    differences: Sequence[str] = (),
    shifts: int = 0,
    run_dir: Path | None = None,
) -> Evaluation:
    """Score a network on the test images, and write evaluation.json and the figures.

    Args:
        network: on the device to use; it computes in float32 from here on.
        dataset: its test images are used.
        config: of the run.
        folder: for the report.
        checkpoint: where the network's weights come from, for the report.
        epoch: the epoch they are from, counted from 1, for the report.
        differences: what is not as it was when the network was trained, for the report.
        shifts: also average the scores over shifts by up to so many pixels; 0: do not.
        run_dir: the run's folder, whose metrics.csv is drawn; None: the same.
    """
    network.float()
    task, loss = config.task.build(), build_loss(config.loss)
    batches = test_batches(network, dataset, task)
    chosen = build_metrics(config)
    scores = score(network, batches, task, loss, task.metrics(chosen))
    if not math.isfinite(scores.measured["loss"]):
        raise DivergedError(f"{checkpoint}: its loss on the test images is NaN or infinite")
    tested = scores.tested(batches, dataset.class_names, network)
    of_task = task.report(tested)
    report = {
        "checkpoint": str(checkpoint),
        "epoch": epoch,
        "dataset": {"name": dataset.name, "official": dataset.official, "test": sum(batches.sizes)},
        **of_task,
        **scores.measured,
        "differences": list(differences),
        "config": as_dict(config),
    }
    if shifts:
        averaged = class_scores(network, batches, task, loss.logits, shifts)
        report["shifts"] = over_shifts(shifts, measure_scores(averaged, batches, task, config, dataset.class_names))
    metrics = read_metrics((run_dir or folder) / METRICS_FILE)  # may be damaged, so before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / EVALUATION_FILE, report)
    figures = _draw_figures(task, tested, dataset, metrics, monitor_of(config), folder) if config.figures else {}
    if rows := dict(task.rows(report)):
        for name, value in scores.measured.items():
            if name not in of_task and (measured_by(name) in chosen or name == config.task.monitor):
                rows.setdefault(name.replace("_", " "), shown(name, value))
    return Evaluation(report, figures, rows, scores.images_per_second)


def measure_scores(
    scores: Tensor, batches: Batches, task: Task, config: Config, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """The metrics of given scores, such as those of several networks together, and what the task reports, by name.

    Args:
        scores: of the test items, [items, classes].
        batches: of the test items.
        task: what is learned.
        config: says which metrics.
        class_names: of the dataset.
    """
    output, targets = next(outputs_of_scores(scores, batches))
    metrics = task.metrics(build_metrics(config))
    for name, metric in list(metrics.items()):
        try:
            copy.deepcopy(metric).update(output, targets)
        except (TypeError, KeyError, AttributeError) as error:
            log.warning("%s: needs more than scores, so it is left out here (%s)", name, error)
            del metrics[name]
    try:
        task.details(output, targets, False)
    except (TypeError, KeyError, AttributeError) as error:
        name = name_of("task", config.task)
        raise ConfigError(f"task={name}: its details need more than averaged scores ({on_one_line(error)})") from error
    measured = score_outputs(outputs_of_scores(scores, batches), task, metrics)
    return task.report(measured.tested(batches, class_names)) | measured.measured


def over_shifts(pixels: int, measured: dict[str, Any]) -> dict[str, Any]:
    """What evaluation.json says about scores that are averaged over shifts."""
    numbers = {name: value for name, value in measured.items() if isinstance(value, float)}
    return {"pixels": pixels, "passes": (2 * pixels + 1) ** 2, **numbers}


@torch.no_grad()
def _draw_figures(
    task: Task,
    tested: Tested,
    dataset: Dataset,
    metrics: dict[str, list[float]],
    monitor: Monitor,
    folder: Path,
) -> dict[str, bytes]:
    """Draw the curves, if there are metrics, and the task's figures, and return them as PNG files by name."""
    from . import figures  # loads matplotlib

    names = figures.display_names(dataset.class_names, dataset.class_characters)
    drawn = {"curves": figures.curves(metrics, monitor)} if metrics else {}
    try:
        drawn |= task.figures(figures, tested, names, dataset.title)
    except Exception:  # of a task of somebody's own; the test is worth more than its pictures
        log.exception("The task's figures cannot be drawn")
    folder = folder / FIGURES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return {name: figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()}
