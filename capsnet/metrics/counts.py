"""Images by true and by predicted class, which several metrics are made of."""

import torch
from torch import Tensor

from ..output import Output, Targets
from .metric import Metric


def confusion_matrix(true: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Images by true class (rows) and predicted class (columns), [classes, classes] int64."""
    return torch.bincount(true * num_classes + predicted, minlength=num_classes**2).view(num_classes, num_classes)


class Confusion(Metric):
    """Keeps the confusion matrix as `counts`, [classes, classes]."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None

    def update(self, output: Output, targets: Targets) -> None:
        counts = confusion_matrix(targets.labels, output.scores.argmax(1), output.scores.shape[1])
        self.counts = counts if self.counts is None else self.counts + counts

    def known(self) -> Tensor:
        """The confusion matrix, once there was a batch, [classes, classes] float64."""
        assert self.counts is not None
        return self.counts.double()
