"""The share of images whose class is among the three with the largest scores."""

from torch import Tensor

from ..output import Output, Targets
from .metric import Metric

BEST = 3


class Top3(Metric):
    """Share of the images whose class is among the three with the largest scores; with three classes or fewer, 1."""

    def __init__(self) -> None:
        self.recognized: Tensor | int = 0
        self.images: Tensor | int = 0

    def update(self, output: Output, targets: Targets) -> None:
        best = output.scores.topk(min(BEST, output.scores.shape[1]), dim=1).indices
        right = (best == targets.labels.unsqueeze(1)).any(1)
        self.recognized = self.recognized + right.sum()
        self.images = self.images + right.new_ones((), dtype=int) * len(right)

    def compute(self) -> dict[str, float]:
        return {"top3": float(self.recognized) / float(self.images)}
