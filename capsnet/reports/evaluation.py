"""The report on a trained network: its scores on the test images, and figures of them."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data.batches import Batches, to_float
from ..data.dataset import Dataset, recorded_training_images
from ..data.source import LabelledImages
from ..errors import CheckpointError, ConfigError, DivergedError
from ..files import read_json, write_json
from ..runs.checkpoints import load_checkpoint, restored_network
from ..runs.folder import (
    BEST_CHECKPOINT,
    EVALUATION_FILE,
    FIGURES_FOLDER,
    METRICS_FILE,
    RECORD_FILE,
    ROBUSTNESS_FILE,
)
from ..runs.metrics import read_metrics
from ..runs.saved_config import warn_of_changed_plugin
from ..settings.config import Config, as_dict, leaves
from .averaged_scores import class_scores
from .robustness import Point, by_distortion, measure_robustness, write_robustness
from .scores import Scores, accuracies, score

log = logging.getLogger(__name__)

SHOWN_RECONSTRUCTIONS = 36
SCORING_BATCH = 250  # forward passes only; not data.batch_size, so that training settings do not change scores


class Evaluation(NamedTuple):
    """What an evaluation found."""

    report: dict[str, Any]
    """The content of evaluation.json."""
    figures: dict[str, bytes]
    """PNG files by name; none if `figures=false`."""
    images_per_second: float
    robustness: Sequence[Point] = ()
    """The content of robustness.csv; empty if it was not measured."""


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
    report_dir: Path,
    overrides: dict[str, str | None] | None = None,
    robustness: bool = False,
    shifts: int = 0,
) -> Evaluation:
    """Score a checkpoint on its dataset's test images; write evaluation.json and the figures.

    Args:
        checkpoint: a file that training wrote; it holds the run's config beside the weights.
        report_dir: the run's folder, for the report; its metrics.csv is used if there is one.
        overrides: settings by dotted key that replace the run's own, such as {"data.root": "/elsewhere"}.
        robustness: measure it on distorted test images as well; write robustness.csv and its figure.
        shifts: also average the scores over shifts by up to so many pixels; 0: do not.

    Raises:
        CheckpointError: the file is missing, damaged, contains code, or does not fit the dataset.
        ConfigError, DataError: an override is wrong, or the dataset cannot be read.
    """
    overrides = overrides or {}
    _refuse_foreign_report(report_dir)
    trained = load_with_test_images(checkpoint, overrides)
    config, network, dataset, epoch, _ = trained
    differences = changed_data(trained)
    evaluation = evaluate(network, dataset, config, report_dir, checkpoint, epoch, differences, shifts)
    if not robustness:
        return evaluation
    points = _measure_robustness(network, dataset, evaluation.report, config.figures, report_dir)
    return evaluation._replace(robustness=points)


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


def _measure_robustness(
    network: nn.Module, dataset: Dataset, report: dict[str, Any], draw: bool, report_dir: Path
) -> list[Point]:
    """Measure robustness; write robustness.csv and, if wanted, figures/robustness.png."""
    device = next(network.parameters()).device
    batches = Batches(dataset.read_test_images(), SCORING_BATCH, device)
    points = measure_robustness(network, batches, report["accuracy"], report["epoch"])
    write_robustness(report_dir / ROBUSTNESS_FILE, points)
    if draw:
        from . import figures  # loads matplotlib

        units = {point.distortion: point.unit for point in points}
        figure = figures.robustness(by_distortion(points), units, dataset.title)
        (report_dir / FIGURES_FOLDER).mkdir(parents=True, exist_ok=True)
        figures.save(figure, report_dir / FIGURES_FOLDER / "robustness.png")
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
        return {"checkpoint", "confusion", "config"} <= read_json(path).keys()
    except (OSError, ValueError, AttributeError):
        return False


def changed_data(trained: NetworkWithTestImages) -> list[str]:
    """A sentence, said to the person as well, if files of the dataset are not what they were in training; or nothing.

    Another dataset, which somebody has asked for, is no change.
    """
    before, now = trained.trained_on, trained.dataset.record()
    if before.get("name") != now["name"]:
        return []
    changed = [name for name, digest in before["files"].items() if now["files"].get(name, digest) != digest]
    if not changed:
        return []
    sentence = f"data={now['name']}: {', '.join(changed)} changed since the network was trained"
    log.warning("%s", sentence)
    return [sentence]


def _refuse_without_effect(config: Config, overrides: dict[str, str | None]) -> None:
    """Raise ConfigError for an override that only matters in training."""
    for key, value in overrides.items():
        named = [about for leaf, _, about in leaves(config) if leaf == key or leaf.startswith(f"{key}.")]
        if not any(about.evaluated for about in named):
            raise ConfigError(f"{key}={value}: has no effect on an evaluation")


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    config: Config,
    report_dir: Path,
    checkpoint: Path,
    epoch: int | None,
    differences: Sequence[str] = (),
    shifts: int = 0,
) -> Evaluation:
    """Score a network on the test images, and write evaluation.json and the figures.

    Args:
        network: on the device to use; it computes in float32 from here on.
        dataset: its test images are used.
        config: of the run.
        report_dir: the run's folder.
        checkpoint: where the network's weights come from, for the report.
        epoch: the epoch they are from, counted from 1, for the report.
        differences: what is not as it was when the network was trained, for the report.
        shifts: also average the scores over shifts by up to so many pixels; 0: do not.
    """
    network.float()
    device = next(network.parameters()).device
    images = dataset.read_test_images()
    batches = Batches(images, SCORING_BATCH, device)
    logits = getattr(config.loss, "logits", False)
    scores = score(network, batches, config.loss.build(), len(dataset.class_names), logits)
    report = {
        "checkpoint": str(checkpoint),
        "epoch": epoch,
        "dataset": {"name": dataset.name, "official": dataset.official, "test": len(images.labels)},
        "accuracy": scores.accuracy,
        "balanced_accuracy": scores.balanced_accuracy,
        **scores.losses,
        "per_class_accuracy": dict(zip(dataset.class_names, scores.per_class_accuracy, strict=True)),
        "class_names": list(dataset.class_names),
        "confusion": scores.confusion.tolist(),
        "differences": list(differences),
        "config": as_dict(config),
    }
    if shifts:
        report["shifts"] = _over_shifts(network, images, logits, shifts, scores.confusion.shape[0])
    if not math.isfinite(scores.losses["loss"]):
        raise DivergedError(f"{checkpoint}: its loss on the test images is NaN or infinite")
    metrics = read_metrics(report_dir / METRICS_FILE)  # may be damaged, so before anything is written
    write_json(report_dir / EVALUATION_FILE, report)
    figures = draw_figures(network, dataset, scores, metrics, report_dir) if config.figures else {}
    return Evaluation(report, figures, scores.images_per_second)


def _over_shifts(network: nn.Module, images: LabelledImages, logits: bool, shifts: int, classes: int) -> dict[str, Any]:
    """What evaluation.json says about scores that are averaged over shifts."""
    batches = Batches(images, SCORING_BATCH, next(network.parameters()).device)
    predicted = class_scores(network, batches, logits, shifts).argmax(1)
    return {"pixels": shifts, "passes": (2 * shifts + 1) ** 2, **accuracies(images.labels, predicted, classes)}


@torch.no_grad()
def draw_figures(
    network: nn.Module, dataset: Dataset, scores: Scores, metrics: dict[str, list[float]], report_dir: Path
) -> dict[str, bytes]:
    """Draw the figures that apply into the run's folder, and return them as PNG files by name.

    Reconstructions need a decoder; perturbations need class capsules and `network.decode(capsules, labels)`; curves
    need metrics.
    """
    from . import figures  # loads matplotlib

    images = dataset.read_test_images()
    device = next(network.parameters()).device
    names = figures.display_names(dataset.class_names, dataset.class_characters)
    drawn = {}
    if metrics:
        drawn["curves"] = figures.curves(metrics)
    drawn["confusion"] = figures.confusion(scores.confusion, names, dataset.title)
    wrong = (scores.predictions != images.labels).nonzero().flatten()
    worst = wrong[scores.confidences[wrong].argsort(descending=True, stable=True)][: figures.MOST_MISTAKES]
    drawn["mistakes"] = figures.mistakes(
        to_float(images.images[worst]),
        images.labels[worst],
        scores.predictions[worst],
        scores.confidences[worst],
        names,
        dataset.title,
        (len(wrong), len(images.labels)),
    )
    shown = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))[:SHOWN_RECONSTRUCTIONS]
    shown_images = to_float(images.images[shown])
    reconstruction = network(shown_images.to(device)).reconstruction
    if reconstruction is not None:
        drawn["reconstructions"] = figures.reconstructions(
            shown_images, reconstruction.cpu(), images.labels[shown], scores.predictions[shown], names, dataset.title
        )
    examples = _one_per_class(images, scores.predictions, len(dataset.class_names))
    capsules = network(to_float(images.images[examples]).to(device)).capsules
    if capsules is not None and hasattr(network, "decode"):
        labels = images.labels[examples].to(device)
        drawn["perturbations"] = figures.perturbations(network.decode, capsules, labels, names, dataset.title)
    folder = report_dir / FIGURES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return {name: figures.save(figure, folder / f"{name}.png") for name, figure in drawn.items()}


def _one_per_class(images: LabelledImages, predictions: Tensor, classes: int) -> Tensor:
    """Index of each class's first recognized image, or of its first image; a class without images has none."""
    chosen = []
    for label in range(classes):
        in_class = images.labels == label
        recognized = (in_class & (predictions == label)).nonzero()
        if in_class.any():
            chosen.append(int((recognized if len(recognized) else in_class.nonzero())[0]))
    return torch.tensor(chosen)
