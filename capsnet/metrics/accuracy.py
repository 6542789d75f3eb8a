"""The share of images whose class was recognized."""

from torch import Tensor

from ..output import Output, Targets
from .metric import Metric


class Accuracy(Metric):
    """Share of the images that were recognized.

    Of mixed images, the class with the larger share is the true one.
    """

    def __init__(self) -> None:
        self.recognized: Tensor | int = 0
        self.images: Tensor | int = 0

    def update(self, output: Output, targets: Targets) -> None:
        right = output.scores.argmax(1) == targets.labels
        self.recognized = self.recognized + right.sum()
        self.images = self.images + right.new_ones((), dtype=int) * len(right)

    def compute(self) -> dict[str, float]:
        return {"accuracy": float(self.recognized) / float(self.images)}
