"""What a metric is, and several of them together over the images of an epoch."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..output import Output, Targets, detached

AddUp = Callable[[Tensor], Tensor]
"""The sum of a tensor over all processes."""


RESERVED_NAMES = {
    *("accuracy", "balanced_accuracy", "checkpoint", "class_names", "config", "confusion", "dataset", "differences"),
    *("epoch", "f1", "per_class_accuracy", "precision", "recall", "shifts"),
    *("by_overlap", "held_out_pairs", "pairs", "per_class_found", "reconstruction_errors"),
}
"""What evaluation.json calls something else, so that a loss cannot use it."""


class Metric:
    """Something that is measured over the images of an epoch.

    A metric of your own need not derive from this class. Every tensor that it keeps as an attribute is a sum, and so is
    every number that begins at 0. Sums of tensors stay on the device. Before `compute` is called, all are added up over
    processes.
    """

    def update(self, output: Output, targets: Targets) -> None:
        """Add a batch.

        Args:
            output: of the network; its scores are lengths of capsules or probabilities, see `Task.confidences`.
            targets: what was wanted of it.
        """
        raise NotImplementedError

    def compute(self) -> dict[str, Any]:
        """What was measured so far, numbers by name; shares are in [0, 1]."""
        raise NotImplementedError


class Measurements:
    """The means of the losses, and the metrics, over the images of an epoch or of a test.

    Args:
        metrics: new ones, by name.
        confidences: of an output, [batch, classes] in [0, 1], see `Task.confidences`: the scores that metrics get.
        exact: add the losses up in float64, on the CPU, for which every batch waits.
    """

    def __init__(self, metrics: Mapping[str, Any], confidences: Callable[[Output], Tensor], exact: bool = False):
        self.metrics, self.confidences, self.exact = metrics, confidences, exact
        self.names: tuple[str, ...] = ()
        """What was measured, once it was computed."""
        self.losses: tuple[str, ...] = ()
        """Which of them are losses."""
        built = {option: _attributes(metric) for option, metric in metrics.items()}
        self._counters = {
            option: [name for name, value in own.items() if type(value) in (int, float) and value == 0]
            for option, own in built.items()
        }
        self._empty = {
            option: [name for name, value in own.items() if isinstance(value, list | dict | set) and not value]
            for option, own in built.items()
        }
        self._sums: Tensor | None = None  # of the losses over the images, and the number of images

    def update(self, losses: dict[str, Tensor], output: Output, targets: Targets) -> None:
        """Add a batch, with the means of its losses, if there are any. Nothing waits for the device.

        Raises:
            ConfigError: a loss has a name that evaluation.json has already.
        """
        if reserved := RESERVED_NAMES & losses.keys():
            raise ConfigError(f"loss: what it returns must not have {min(reserved)!r}; choose another name")
        self.losses = tuple(losses)
        one = torch.ones((), device=output.scores.device)
        values = torch.stack([*(torch.as_tensor(value).detach().to(one) for value in losses.values()), one])
        sums = (values.cpu().double() if self.exact else values) * len(targets.labels)
        self._sums = sums if self._sums is None else self._sums + sums
        output = detached(output)
        output = output._replace(scores=self.confidences(output))
        for metric in self.metrics.values():
            metric.update(output, targets)

    def compute(self, add_up: AddUp | None = None) -> dict[str, float]:
        """What was measured, by name: the losses first. A metric that is NaN or infinite was not measured.

        Args:
            add_up: sums over all processes, each of which has to call this, once; None: this process alone.

        Raises:
            ConfigError: two of the losses and metrics have the same name.
        """
        assert self._sums is not None
        if add_up is not None:
            self._sums = add_up(self._sums)
            for option, metric in self.metrics.items():
                self._add_up(option, metric, add_up)
        *totals, images = self._sums.tolist()
        measured = dict(zip(self.losses, (total / images for total in totals), strict=True))
        for option, metric in self.metrics.items():
            values = {name: float(value) for name, value in metric.compute().items()}
            if both := measured.keys() & values.keys():
                raise ConfigError(f"metrics={option}: {min(both)} is measured already; choose another name")
            measured |= values
        self.names = tuple(measured)
        return {name: value for name, value in measured.items() if name in self.losses or math.isfinite(value)}

    def _add_up(self, option: str, metric: Any, add_up: AddUp) -> None:
        """Replace a metric's sums by those over all processes."""
        assert self._sums is not None
        for name, value in _attributes(metric).items():
            if name in self._counters[option]:  # a number in one process may be a tensor in another
                setattr(metric, name, add_up(torch.as_tensor(value).to(self._sums.device, torch.float64)))
            elif isinstance(value, Tensor):
                setattr(metric, name, add_up(value))
            elif isinstance(value, np.ndarray | np.number) or (name in self._empty[option] and value):
                raise ConfigError(
                    f"metrics={option}: {name} cannot be added up over processes; keep a tensor, or a number from 0 on"
                )


def _attributes(metric: Any) -> dict[str, Any]:
    """What a metric keeps, buffers of a torch module included; nothing of one with `__slots__`."""
    own = dict(getattr(metric, "__dict__", {}))
    if not isinstance(metric, torch.nn.Module):
        return own
    of_every_module = vars(torch.nn.Module())
    buffers = dict(metric.named_buffers(recurse=False))
    return {name: value for name, value in own.items() if name not in of_every_module} | buffers
