"""The optimizer and its learning rate."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from .setting import setting

_setting = partial(setting, evaluated=False)


@dataclass
class Adam:
    """Adam (Kingma & Ba 2015), with a learning rate that decays by a factor each epoch."""

    lr: float = _setting(0.001, "learning rate in the first epoch", above=0)
    lr_decay: float = _setting(0.9, "factor on the learning rate after each epoch", above=0, at_most=1)

    def build(self, parameters: Iterable, fused: bool) -> tuple[Any, Any]:
        """The optimizer and the schedule of its learning rate, which is stepped once an epoch."""
        import torch

        optimizer = torch.optim.Adam(parameters, lr=self.lr, fused=fused)
        return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, self.lr_decay)


OPTIONS = {"adam": Adam}
