"""Scores of a network on labelled images."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..losses import check_names
from ..output import Output, confidences

Loss = Callable[[Output, Tensor, Tensor], dict[str, Tensor]]
"""(output, images, labels) -> named scalars, means over the batch; "loss" is what is minimized."""


@dataclass
class Scores:
    """How well a network classifies labelled images."""

    accuracy: float
    losses: dict[str, float]
    """What the loss names, means over the images; "loss" is among them."""
    predictions: Tensor
    """Class with the largest score, [n]."""
    confusion: Tensor
    """Images by true class (rows) and predicted class (columns), [classes, classes]."""
    confidences: Tensor
    """Score of the predicted class, [n], as of `output.confidences`."""
    images_per_second: float
    """From uint8 images to scores and losses; the first batch, which warms up, is left out if there are others."""

    @property
    def per_class_accuracy(self) -> list[float | None]:
        """Share of each class's images that were recognized; None for a class without images."""
        return per_class_accuracy(self.confusion)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the per-class accuracies, over the classes that have images."""
        return _mean_of_known(self.per_class_accuracy)


def confusion_matrix(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Images by true class (rows) and predicted class (columns), [classes, classes]."""
    return torch.bincount(true * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


def per_class_accuracy(confusion: Tensor) -> list[float | None]:
    """Share of each class's images that were recognized; None for a class without images."""
    totals, hits = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return [hit / total if total else None for hit, total in zip(hits, totals, strict=True)]


def accuracies(true: Tensor, predicted: Tensor, num_classes: int) -> dict[str, float]:
    """Accuracy and balanced accuracy, by name."""
    by_class = per_class_accuracy(confusion_matrix(true, predicted, num_classes))
    return {
        "accuracy": float((true == predicted).double().mean()),
        "balanced_accuracy": _mean_of_known(by_class),
    }


def _mean_of_known(accuracies: list[float | None]) -> float:
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return sum(known) / len(known)


@torch.no_grad()
def score(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Loss,
    num_classes: int,
    logits: bool = False,
) -> Scores:
    """Accuracy and losses of a network in evaluation mode, every image counted once.

    Args:
        network: on the device of the batches.
        batches: images and their classes.
        loss: names what is measured beside accuracy.
        num_classes: number of classes.
        logits: the network's scores are logits, see `output.confidences`.
    """
    network.eval()
    sums: dict[str, Tensor] = {}
    labels, predictions, certain = [], [], []
    began, first = time.perf_counter(), 0
    for images, true in batches:
        if len(labels) == 1:
            began, first = time.perf_counter(), len(labels[0])
        output = network(images)
        losses = loss(output, images, true)
        check_names(losses)
        for name, value in losses.items():
            total = value.detach().cpu().double() * len(true)
            sums[name] = sums[name] + total if name in sums else total
        labels.append(true.cpu())
        predictions.append(output.scores.argmax(1).cpu())
        certain.append(confidences(output, logits).amax(1).float().cpu())
    true, predicted = torch.cat(labels), torch.cat(predictions)
    images_per_second = (len(true) - first) / (time.perf_counter() - began)
    return Scores(
        accuracy=float((true == predicted).double().mean()),
        losses={name: float(total) / len(true) for name, total in sums.items()},
        predictions=predicted,
        confusion=confusion_matrix(true, predicted, num_classes),
        confidences=torch.cat(certain),
        images_per_second=images_per_second,
    )
