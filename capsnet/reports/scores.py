"""What a network says about test items, and how well that fits."""

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data.batches import Batches
from ..losses import Loss
from ..metrics.metric import Measurements
from ..tasks.task import Task, joined


class Scores(NamedTuple):
    """How well a network does on test items."""

    measured: dict[str, float]
    """Means of the losses, and the metrics, by name."""
    details: dict[str, Tensor]
    """What the task keeps of each item, [items, ...] on the CPU; see `Task.details`."""
    images_per_second: float
    """From uint8 images to scores and losses; the first batch, which warms up, is left out if there are others."""


@torch.no_grad()
def score(network: nn.Module, batches: Batches, task: Task, loss: Loss, metrics: dict[str, Any]) -> Scores:
    """Losses and metrics of a network in evaluation mode, every item counted once.

    Args:
        network: on the device of the batches.
        batches: of the items to be scored.
        task: what is learned.
        loss: names what is measured beside the metrics.
        metrics: new ones, by name.
    """
    network.eval()
    measurements, details = Measurements(metrics, exact=True), []
    began, counted = time.perf_counter(), 0
    for number, (images, targets) in enumerate(batches):
        if number == 1:
            began, counted = time.perf_counter(), 0
        output = task.output(network, images, targets, choose=True)
        measurements.update(loss(output, targets), output, targets)
        details.append(task.details(output, targets, loss.logits))
        counted += len(images)
    measured = measurements.compute()
    return Scores(measured, joined(details), counted / (time.perf_counter() - began))
