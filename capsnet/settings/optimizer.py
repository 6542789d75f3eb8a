"""The optimizer, and how its learning rate changes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..errors import ConfigError
from ..text import on_one_line
from .setting import Setting, setting

NEARLY_NOTHING = 0.001  # of the learning rate

_setting = partial(setting, evaluated=False)

RISE, START, END = 0.3, 1 / 25, 1 / 250_000
"""Of one_cycle (Smith & Topin 2018), as torch has them: share of the steps that rise; first and last share of `lr`."""


@dataclass
class Optimizer:
    """What all optimizers have: a learning rate that changes after each epoch, or with each step.

    One of your own derives from this class and has a method `make`.
    """

    lr: float = _setting(
        0.001,
        "learning rate in the first epoch, or after the warm-up; most networks come with their own",
        above=0,
    )
    lr_decay: float = _setting(
        0.8, "factor on the learning rate after each epoch, of schedule=exponential", above=0, at_most=1
    )
    min_lr: float = _setting(0.0, "below which the learning rate does not fall, of schedule=exponential", at_least=0)
    schedule: str = _setting(
        "exponential",
        "exponential: falls by lr_decay after each epoch; cosine: falls along a cosine, to 0 at the end; one_cycle:"
        " rises for 30 % of all steps, then falls, both along a cosine",
        one_of=("exponential", "cosine", "one_cycle"),
    )
    warmup_epochs: int = _setting(
        0, "first epochs, in which the learning rate rises in even steps; the schedule begins after them", at_least=0
    )
    every_step: bool = _setting(
        False, "change the learning rate with every step rather than after every epoch; one_cycle always does"
    )

    @property
    def by_step(self) -> bool:
        return self.every_step or self.schedule == "one_cycle"

    @property
    def ends_with_training(self) -> bool:
        """Does the learning rate depend on the number of epochs? Then a run cannot be extended."""
        return self.schedule != "exponential"

    def note(self, epochs: int) -> str | None:
        """What a person has to be told of the learning rate in so many epochs; None if it is as it should be."""
        if self.schedule != "exponential" or self._share_of_lr(epochs - 1, 1, epochs) >= NEARLY_NOTHING:
            return None
        last = next(epoch for epoch in range(epochs) if self._share_of_lr(epoch, 1, epochs) < NEARLY_NOTHING)
        fitting = 0.01 ** (1 / max(1, epochs - self.warmup_epochs))
        return (
            f"After epoch {last} of {epochs}, the learning rate is less than a thousandth, and little changes: set"
            f" optimizer.schedule=cosine, or optimizer.lr_decay={fitting:.3f}"
        )

    def check(self) -> None:
        """Raise ConfigError if two settings contradict each other."""
        if self.schedule == "one_cycle" and self.warmup_epochs:
            raise ConfigError("optimizer.schedule=one_cycle: has a warm-up of its own; set optimizer.warmup_epochs=0")
        if self.min_lr > self.lr:
            raise ConfigError(f"optimizer.min_lr={self.min_lr:g}: is above optimizer.lr={self.lr:g}")
        if self.min_lr and self.schedule != "exponential":
            raise ConfigError(f"optimizer.min_lr={self.min_lr:g}: belongs to optimizer.schedule=exponential")

    def build(self, parameters: Iterable, fused: bool, epochs: int, steps: int | None = None) -> tuple[Any, Any]:
        """The optimizer and the schedule of its learning rate.

        Args:
            parameters: of the network.
            fused: use torch's fused step, where there is one.
            epochs: that are going to be trained.
            steps: of the optimizer that are going to be made, if the schedule is stepped with each (`by_step`); else
                it is stepped once an epoch.

        Raises:
            ConfigError: the optimizer cannot be made.
        """
        from torch.optim.lr_scheduler import LambdaLR

        optimizer = self.make(list(parameters), fused)
        units_per_epoch = steps / epochs if self.by_step and steps is not None else 1.0
        total = round(epochs * units_per_epoch)
        return optimizer, LambdaLR(optimizer, lambda unit: self._share_of_lr(unit, units_per_epoch, total))

    def make(self, parameters: list, fused: bool) -> Any:
        """The torch optimizer, at the learning rate `lr`. See `build` for what the arguments mean."""
        raise NotImplementedError

    def _share_of_lr(self, unit: int, units_per_epoch: float, total: int) -> float:
        """The learning rate as a share of `lr`, in an epoch or a step.

        Args:
            unit: number of the epoch or step, from 0.
            units_per_epoch: 1 if epochs are counted.
            total: epochs or steps that are going to be trained.
        """
        if self.schedule == "one_cycle":
            return _one_cycle(unit, total)
        warmup = self.warmup_epochs * units_per_epoch
        if unit < warmup:
            return (unit + 1) / (warmup + 1)
        since = unit - warmup
        if self.schedule == "cosine":
            return _cosine(1, 0, since / max(1, total - warmup))
        return max(self.lr_decay ** (since / units_per_epoch), self.min_lr / self.lr)


def _one_cycle(step: int, steps: int) -> float:
    top = RISE * steps - 1
    if step <= top:
        return _cosine(START, 1, step / top)
    return _cosine(1, END, (step - top) / max(1, steps - 1 - top))


def _cosine(first: float, last: float, way: float) -> float:
    """From the first value to the last along half a wave of the cosine; `way` goes from 0 to 1."""
    return last + (first - last) * (1 + math.cos(math.pi * min(1, way))) / 2


@dataclass
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015)."""

    beta1: float = _setting(0.9, "how much of the mean gradient a step keeps", at_least=0, below=1)
    beta2: float = _setting(0.999, "how much of the mean squared gradient a step keeps", at_least=0, below=1)

    def make(self, parameters: list, fused: bool) -> Any:
        import torch

        return torch.optim.Adam(parameters, lr=self.lr, betas=(self.beta1, self.beta2), fused=fused)


@dataclass
class AdamW(Adam):
    """AdamW (Loshchilov & Hutter 2019): Adam with weight decay.

    Weights of two or more dimensions decay; biases and batch normalization, which have one, do not.
    """

    weight_decay: float = _setting(
        0.01, "share of each weight that a step takes away, times the learning rate", at_least=0
    )

    def make(self, parameters: list, fused: bool) -> Any:
        import torch

        groups = _decaying(parameters, self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.lr, betas=(self.beta1, self.beta2), fused=fused)


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent with momentum. The learning rates that come with networks are for Adam: here they
    should be about 20 times as large.

    Weights of two or more dimensions decay; biases and batch normalization, which have one, do not.
    """

    momentum: float = _setting(0.9, "how much of the last step is made again", at_least=0, below=1)
    nesterov: bool = _setting(False, "look ahead along the momentum (Nesterov 1983)")
    weight_decay: float = _setting(0.0, "how much of each weight is added to its gradient", at_least=0)

    def check(self) -> None:
        super().check()
        if self.nesterov and not self.momentum:
            raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")

    def make(self, parameters: list, fused: bool) -> Any:
        import torch

        groups = _decaying(parameters, self.weight_decay)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, fused=fused)


@dataclass
class Torch(Optimizer):
    """Any optimizer of torch's, or in its form, by its class: `optimizer._target_=torch.optim.RMSprop`.

    It is other people's code, so only a command line or a YAML file of yours chooses it, never a saved run: name it
    again when you resume one.
    """

    _target_: str | None = setting(
        None, "the class, such as torch.optim.RMSprop", trained=False, evaluated=False, when_saved=None
    )
    arguments: dict[str, Any] = field(
        default_factory=dict,
        metadata={"setting": Setting("of the class, beside lr, by +optimizer.arguments.NAME=VALUE", evaluated=False)},
    )

    def make(self, parameters: list, fused: bool) -> Any:
        from hydra.utils import get_object
        from torch.optim import Optimizer

        if self._target_ is None:
            raise ConfigError("optimizer=torch: say which, by optimizer._target_=CLASS; also if a saved run names one")
        if "lr" in self.arguments:
            raise ConfigError("optimizer.arguments.lr: has no effect; set optimizer.lr")
        asked = f"optimizer._target_={self._target_}"
        try:
            # Arguments, which a saved config has, stay plain data: Hydra would make objects of those with a _target_.
            made = get_object(self._target_)(parameters, lr=self.lr, **self.arguments)
        except Exception as error:
            raise ConfigError(f"{asked}: {on_one_line(error.__cause__ or error)[:300]}") from error
        if not isinstance(made, Optimizer):
            raise ConfigError(f"{asked}: is no optimizer of torch's")
        return made


def _decaying(parameters: list, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of parameters: those that decay, and those that do not."""
    groups = [
        {"params": [weight for weight in parameters if weight.ndim >= 2], "weight_decay": weight_decay},
        {"params": [weight for weight in parameters if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


OPTIONS = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "torch": Torch}
