"""What a network says about test items, and how well that fits."""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data.batches import Batches
from ..losses import END, Loss
from ..metrics.metric import Measurements
from ..output import Output, Targets
from ..tasks.task import Task, Tested, joined


class Scores(NamedTuple):
    """How well a network does on test items."""

    measured: dict[str, float]
    """Means of the losses, and the metrics, by name."""
    details: dict[str, Tensor]
    """What the task keeps of each item, [items, ...] on the CPU; see `Task.details`."""
    images_per_second: float
    """From uint8 images to scores and losses; the first batch, which warms up, is left out if there are others."""

    def tested(self, batches: Batches, class_names: tuple[str, ...], network: Any = None) -> Tested:
        """The same for the task's report and figures."""
        return Tested(lambda numbers: batches.take(numbers)[0], self.details, class_names, network)


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
    outputs = ((task.output(network, images, targets, choose=True), targets) for images, targets in batches)
    return score_outputs(outputs, task, metrics, loss)


@torch.no_grad()
def score_outputs(
    outputs: Iterable[tuple[Output, Targets]], task: Task, metrics: dict[str, Any], loss: Loss | None = None
) -> Scores:
    """Losses, if one is given, and metrics of what is said about batches of items.

    Args:
        outputs: of all batches, computed one after the other.
        task: what is learned.
        metrics: new ones, by name.
        loss: None: the scores are those of capsules, or probabilities.
    """
    logits = loss is not None and loss.logits
    measurements, details = Measurements(metrics, partial(task.confidences, logits=logits), exact=True), []
    began, counted = time.perf_counter(), 0
    for number, (output, targets) in enumerate(outputs):
        measurements.update({} if loss is None else loss(output, targets, END), output, targets)
        details.append(task.details(output, targets, logits))
        counted += len(targets.labels)
        if number == 0:
            warm, first = time.perf_counter(), counted
    if number:
        began, counted = warm, counted - first
    return Scores(measurements.compute(), joined(details), counted / (time.perf_counter() - began))


def outputs_of_scores(scores: Tensor, batches: Batches) -> Iterator[tuple[Output, Targets]]:
    """Given scores of all items, [items, classes], such as those of several networks together, batch by batch."""
    first = 0
    for _, targets in batches:
        of_batch = scores[first : first + len(targets.labels)].to(targets.labels.device)
        first += len(of_batch)
        yield Output(of_batch), targets
