"""How far the scores are from the shares of images that are recognized with them."""

import torch
from torch import Tensor

from ..output import Output, Targets
from .metric import Metric

BINS = 15


class Calibration(Metric):
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599), in 15 bins of equal width.

    In each bin of the largest score of an image, the difference between the mean score and the share of images that
    were recognized counts by its images. 0 is best.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None  # of images, scores and recognized ones in each bin, [3, bins]

    def update(self, output: Output, targets: Targets) -> None:
        scores, predicted = output.scores.float().max(1)
        right = (predicted == targets.labels).float()
        bins = (scores * BINS).long().clamp(0, BINS - 1)
        sums = torch.zeros(3, BINS, device=scores.device)
        sums.index_add_(1, bins, torch.stack([torch.ones_like(scores), scores, right]))
        self.sums = sums if self.sums is None else self.sums + sums

    def compute(self) -> dict[str, float]:
        assert self.sums is not None
        images, scores, right = self.sums.double()
        return {"calibration": float((scores - right).abs().sum() / images.sum())}
