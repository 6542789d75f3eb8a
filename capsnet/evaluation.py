"""Scores of a trained network on test images, and the report that is written of them."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import figures
from .checkpoint import build_network, load_checkpoint
from .config import Config, LossConfig
from .data import Batches, ImageDataModule, to_float
from .errors import CheckpointError, ConfigError, on_one_line
from .losses import capsnet_losses
from .model import CapsNet
from .results import BEST_CHECKPOINT, METRICS_FILE, read_metrics, refuse_links, write_json
from .sources import Labelled

log = logging.getLogger(__name__)

SHOWN_RECONSTRUCTIONS = 36
TRAINING_ONLY = ("trainer.", "optimizer.", "augment.", "early_stopping.", "seed")
SCORING_BATCH = 250  # forward passes only; no setting of the training changes what is scored


@dataclass
class Scores:
    """What a network makes of labelled images."""

    accuracy: float
    loss: float
    margin_loss: float
    reconstruction_loss: float
    predictions: Tensor
    """Class of the longest capsule, [n]."""
    confusion: Tensor
    """Images by right class (rows) and predicted class (columns), [classes, classes]."""

    @property
    def per_class_accuracy(self) -> list[float | None]:
        """Share of each class's images that were recognised; None for a class without images."""
        totals, right = self.confusion.sum(1).tolist(), self.confusion.diagonal().tolist()
        return [hits / total if total else None for hits, total in zip(right, totals, strict=True)]


@torch.no_grad()
def score(network: CapsNet, batches: Iterable[tuple[Tensor, Tensor]], loss: LossConfig) -> Scores:
    """Accuracy and losses in float32, every image counted once; the longest capsule is the one that is decoded."""
    network.eval()
    sums, labels, predictions = torch.zeros(3, dtype=torch.float64), [], []
    for images, right in batches:
        output = network(images)
        losses = capsnet_losses(output.lengths, output.reconstruction, images, right, loss)
        sums += torch.stack(losses).cpu().double() * len(right)
        labels.append(right.cpu())
        predictions.append(output.lengths.argmax(1).cpu())
    right, predicted = torch.cat(labels), torch.cat(predictions)
    total, margin, reconstruction = (sums / len(right)).tolist()
    classes = network.num_classes
    return Scores(
        accuracy=float((right == predicted).double().mean()),
        loss=total,
        margin_loss=margin,
        reconstruction_loss=reconstruction,
        predictions=predicted,
        confusion=torch.bincount(right * classes + predicted, minlength=classes**2).view(classes, classes),
    )


def find_checkpoint(run: str | None, checkpoint: str | None) -> tuple[Path, Path]:
    """The checkpoint that is meant, and the folder of the run that it belongs to.

    Raises:
        CheckpointError: there is no such run or checkpoint.
    """
    if run is not None:
        if not Path(run).is_dir():
            raise CheckpointError(f"run={run}: there is no such folder")
        return Path(run, BEST_CHECKPOINT), Path(run)
    assert checkpoint is not None
    folder = Path(checkpoint).parent
    return Path(checkpoint), folder.parent if folder.name == BEST_CHECKPOINT.parent.name else folder


def evaluate_checkpoint(checkpoint: Path, report_dir: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Score a checkpoint on its dataset's test images; write evaluation.json and the figures.

    Args:
        checkpoint: a file that training wrote; it holds the run's config beside the weights.
        report_dir: the run's folder, where the report goes and metrics.csv is looked for.
        overrides: settings, by dotted key, that replace those of the run, such as {"data.root": "/elsewhere"}.

    Returns:
        The content of evaluation.json.

    Raises:
        CheckpointError: the file is missing, damaged, holds code, or does not fit the dataset.
        ConfigError, DataError: an override is wrong, or the dataset cannot be read.
    """
    for key in overrides or {}:
        if key.startswith(TRAINING_ONLY):
            raise ConfigError(f"{key}: has no effect on an evaluation")
    refuse_links(report_dir)
    config, weights, epoch = load_checkpoint(checkpoint, overrides)
    log.info("Scoring %s (epoch %d) on the test images of %s", checkpoint, epoch, config.data.name)
    data = ImageDataModule(config.data, seed=config.seed)
    data.setup("test")
    try:
        network = build_network(config, data.image_shape, len(data.class_names))
        network.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint}: its weights do not fit a CapsNet for {config.data.name} with these settings"
            f" ({on_one_line(error)[:200]})"
        ) from error
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    return evaluate(network, data, config, report_dir, checkpoint, epoch)[0]


def evaluate(
    network: CapsNet, data: ImageDataModule, config: Config, report_dir: Path, checkpoint: Path, epoch: int | None
) -> tuple[dict[str, Any], dict[str, figures.Figure]]:
    """Score a network on the test images, write evaluation.json and the figures, and return both.

    Args:
        network: on the device to use; computes in float32 from here on.
        data: its test images are read.
        config: of the run, for the record.
        report_dir: the run's folder.
        checkpoint: where the network's weights come from, for the record.
        epoch: the epoch they are of, counted from 1, for the record.
    """
    network.float()
    assert data.test_split is not None, 'setup("test") comes first'
    device = next(network.parameters()).device
    scores = score(network, Batches(data.test_split, SCORING_BATCH, device), config.loss)
    report = {
        "checkpoint": str(checkpoint),
        "epoch": epoch,
        "dataset": {"name": data.source.name, "official": data.source.official, "test": len(data.test_split.labels)},
        "accuracy": scores.accuracy,
        "loss": scores.loss,
        "margin_loss": scores.margin_loss,
        "reconstruction_loss": scores.reconstruction_loss,
        "per_class_accuracy": dict(zip(data.class_names, scores.per_class_accuracy, strict=True)),
        "class_names": list(data.class_names),
        "confusion": scores.confusion.tolist(),
        "config": asdict(config),
    }
    write_json(report_dir / "evaluation.json", report)
    return report, draw_figures(network, data, scores, report_dir)


def draw_figures(
    network: CapsNet, data: ImageDataModule, scores: Scores, report_dir: Path
) -> dict[str, figures.Figure]:
    """Draw the four figures of a run into `report_dir`/figures; curves only where there is a metrics.csv."""
    split, title = data.test_split, data.title
    names = figures.display_names(data.class_names, data.source.class_characters)
    device = next(network.parameters()).device
    drawn = {}
    metrics = read_metrics(report_dir / METRICS_FILE)
    if metrics:
        drawn["curves"] = figures.curves(metrics)
    shown = torch.randperm(len(split.labels), generator=torch.Generator().manual_seed(0))[:SHOWN_RECONSTRUCTIONS]
    images = to_float(split.images[shown])
    with torch.no_grad():
        reconstruction = network(images.to(device)).reconstruction
    drawn["reconstructions"] = figures.reconstructions(
        images, reconstruction, split.labels[shown], scores.predictions[shown], names, title
    )
    examples = _one_per_class(split, scores.predictions, network.num_classes)
    drawn["perturbations"] = figures.perturbations(
        network, to_float(split.images[examples]).to(device), split.labels[examples].to(device), names, title
    )
    drawn["confusion"] = figures.confusion(scores.confusion, names, title)
    folder = report_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")
    return drawn


def _one_per_class(split: Labelled, predictions: Tensor, classes: int) -> Tensor:
    """Index of each class's first recognised image, or of its first where none was; a class without images has none."""
    chosen = []
    for label in range(classes):
        of_class = split.labels == label
        candidates = (of_class & (predictions == label)).nonzero() if of_class.any() else None
        if candidates is not None:
            chosen.append(int((candidates if len(candidates) else of_class.nonzero())[0]))
    return torch.tensor(chosen)
