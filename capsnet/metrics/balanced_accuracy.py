"""Accuracy in which every class counts the same."""

from torch import Tensor

from .counts import Confusion


def class_accuracies(confusion: Tensor) -> list[float | None]:
    """Share of each class's images that were recognized; None for a class without images.

    Args:
        confusion: images by true and predicted class, [classes, classes].
    """
    totals, hits = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    return [hit / total if total else None for hit, total in zip(hits, totals, strict=True)]


class BalancedAccuracy(Confusion):
    """Mean over the classes of the share of their images that were recognized. Classes without images do not count."""

    def compute(self) -> dict[str, float]:
        known = [accuracy for accuracy in class_accuracies(self.known()) if accuracy is not None]
        return {"balanced_accuracy": sum(known) / len(known)}
