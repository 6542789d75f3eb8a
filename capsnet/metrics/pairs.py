"""How well several classes in one image are named: all of them, and one by one."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..output import Output, Targets
from .metric import Metric


def best(scores: Tensor, count: int) -> Tensor:
    """The classes with the largest scores, largest first, [batch, classes] -> [batch, count]."""
    return scores.topk(count, dim=1).indices


class Pairs(Metric):
    """Of images that have k classes each, the k with the largest scores are the answer.

    `exact_match` is the share of images whose classes are all named, as Sabour et al. (2017) count them.
    `per_character` is the share of classes that are named, as Mazzia et al. (2021) do. It is larger, so the two cannot
    be compared.

    Args:
        held_out: number of classes -> which two of them are never together in training, [classes, classes] bool. These
            pairs are measured apart. None: there are no such pairs.
    """

    def __init__(self, held_out: Callable[[int], Tensor] | None = None):
        self.held_out = held_out
        self.sums: Tensor | None = None  # of images, exact matches and shares of classes; seen and held out, [3, 2]

    def update(self, output: Output, targets: Targets) -> None:
        labels = targets.labels
        answers = best(output.scores, labels.shape[1])
        found = (labels.unsqueeze(2) == answers.unsqueeze(1)).any(2).float()  # [batch, k]
        counted = torch.stack([torch.ones_like(found[:, 0]), found.amin(1), found.mean(1)])
        apart = torch.zeros_like(found[:, 0])
        if self.held_out is not None and labels.shape[1] == 2:
            apart = self.held_out(output.scores.shape[1]).to(labels.device)[labels[:, 0], labels[:, 1]].float()
        sums = counted @ torch.stack([1 - apart, apart], 1)
        self.sums = sums if self.sums is None else self.sums + sums

    def compute(self) -> dict[str, float]:
        assert self.sums is not None
        (seen, apart), (seen_exact, apart_exact), (seen_found, _) = self.sums.tolist()
        measured = {"exact_match": seen_exact / seen, "per_character": seen_found / seen} if seen else {}
        return measured | ({"held_out_exact_match": apart_exact / apart} if apart else {})
