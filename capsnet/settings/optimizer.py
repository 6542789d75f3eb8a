"""The optimizer and its learning rate."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .setting import setting

NEARLY_NOTHING = 0.001  # of the learning rate

_setting = partial(setting, evaluated=False)


@dataclass
class Adam:
    """Adam (Kingma & Ba 2015), with a learning rate that changes after each epoch."""

    lr: float = _setting(
        0.001,
        "learning rate in the first epoch, or after the warm-up; most networks come with their own",
        above=0,
    )
    lr_decay: float = _setting(
        0.8, "factor on the learning rate after each epoch; schedule=cosine does not use it", above=0, at_most=1
    )
    schedule: str = _setting(
        "exponential",
        "exponential: falls by lr_decay after each epoch; cosine: falls along a cosine, to 0 after trainer.max_epochs",
        one_of=("exponential", "cosine"),
    )
    warmup_epochs: int = _setting(
        0, "first epochs, in which the learning rate rises in even steps; the schedule begins after them", at_least=0
    )

    @property
    def ends_with_training(self) -> bool:
        """Does the learning rate depend on the number of epochs? Then a run cannot be extended."""
        return self.schedule == "cosine"

    def note(self, epochs: int) -> str | None:
        """What a person has to be told of the learning rate in so many epochs; None if it is as it should be."""
        if self.schedule != "exponential" or self._share_of_lr(epochs - 1, epochs) >= NEARLY_NOTHING:
            return None
        last = next(epoch for epoch in range(epochs) if self._share_of_lr(epoch, epochs) < NEARLY_NOTHING)
        fitting = 0.01 ** (1 / max(1, epochs - self.warmup_epochs))
        return (
            f"After epoch {last} of {epochs}, the learning rate is less than a thousandth, and little changes: set"
            f" optimizer.schedule=cosine, or optimizer.lr_decay={fitting:.3f}"
        )

    def build(self, parameters: Iterable, fused: bool, epochs: int) -> tuple[Any, Any]:
        """The optimizer and the schedule of its learning rate, which is stepped once an epoch.

        Args:
            parameters: of the network.
            fused: use torch's fused step.
            epochs: that are going to be trained.
        """
        from torch.optim.lr_scheduler import LambdaLR

        optimizer = self._optimizer(parameters, fused)
        return optimizer, LambdaLR(optimizer, lambda epoch: self._share_of_lr(epoch, epochs))

    def _optimizer(self, parameters: Iterable, fused: bool) -> Any:
        import torch

        return torch.optim.Adam(parameters, lr=self.lr, fused=fused)

    def _share_of_lr(self, epoch: int, epochs: int) -> float:
        """The learning rate of an epoch, counted from 0, as a share of `lr`."""
        if epoch < self.warmup_epochs:
            return (epoch + 1) / (self.warmup_epochs + 1)
        since, after = epoch - self.warmup_epochs, max(1, epochs - self.warmup_epochs)
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * min(1, since / after))) / 2
        return self.lr_decay**since


@dataclass
class AdamW(Adam):
    """AdamW (Loshchilov & Hutter 2019): Adam with weight decay.

    Weights of two or more dimensions decay; biases and batch normalization, which have one, do not.
    """

    weight_decay: float = _setting(
        0.01, "share of each weight that a step takes away, times the learning rate", at_least=0
    )

    def _optimizer(self, parameters: Iterable, fused: bool) -> Any:
        import torch

        parameters = list(parameters)
        groups = [
            {"params": [weight for weight in parameters if weight.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [weight for weight in parameters if weight.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=self.lr, fused=fused)


OPTIONS = {"adam": Adam, "adamw": AdamW}
