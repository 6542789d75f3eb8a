"""Mixup (Zhang et al. 2018, arXiv:1710.09412): images and labels mixed with those of other images."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Mixup(NamedTuple):
    """Mix each image with another one of the training set. The image's own share is drawn from Beta(alpha, alpha).

    It is the larger of the two shares, so in an epoch every image once has the larger one. Since both images are drawn
    alike, this has the same distribution of mixtures as the paper.
    """

    alpha: float

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For each of `count` images the number of the other one, [count] int64, and its own share, [count]."""
        others = torch.randint(count, (count,), generator=generator)
        seed = int(torch.randint(2**32, (), generator=generator))  # torch's Beta takes no generator
        shares = torch.from_numpy(np.random.RandomState(seed).beta(self.alpha, self.alpha, count)).float()
        return others, torch.maximum(shares, 1 - shares)


def mix(own: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """[batch, ...] twice and [batch] shares of the first -> [batch, ...]."""
    return torch.lerp(others, own, shares.view(-1, *[1] * (own.ndim - 1)))
