"""Can a network and a loss take class probabilities as labels, as mixup makes them, and a loss weights of images?"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.batches import Batches
from ..data.dataset import Dataset
from ..errors import ConfigError
from ..losses import END
from ..output import Output, Targets
from ..settings.config import Config, name_of
from ..text import on_one_line

ROUNDING = {"rtol": 1e-4, "atol": 1e-4}


def refuse_without_probabilities(config: Config, module: Any, dataset: Dataset) -> None:
    """Raise ConfigError if a module's network or loss cannot take class probabilities.

    Both are tried on a few images: probabilities of 0 and 1 have to give what the classes themselves give. The random
    numbers of the run stay as if nothing had been tried.
    """
    with _tried(module, dataset) as (images, targets, output):
        labels, num_classes = targets.labels, len(dataset.class_names)
        probabilities = F.one_hot(labels, num_classes).float()
        mixed = targets._replace(labels=(labels + 1) % num_classes, probabilities=probabilities)  # labels do not count
        for group, compute in {
            "model": lambda true: module.network(images, true),
            "loss": lambda true: module.loss(output, targets if true is labels else mixed, END).values(),
        }.items():
            if reason := _difference(compute, labels, probabilities):
                name = f"{group}={name_of(group, getattr(config, group))}"
                refused = f"{name} cannot take class probabilities as labels ({reason})"
                raise ConfigError(f"augment.mixup={config.augment.mixup:g}: {refused}")


def refuse_without_weights(config: Config, module: Any, dataset: Dataset) -> None:
    """Raise ConfigError if a module's loss is the same with weights of 0, so that it does not look at them."""
    with _tried(module, dataset) as (_, targets, output):
        weightless = targets._replace(weights=torch.zeros(len(targets.labels)))
        if torch.equal(module.loss(output, targets, END)["loss"], module.loss(output, weightless, END)["loss"]):
            loss, weights = name_of("loss", config.loss), config.data.class_weights
            raise ConfigError(f"data.class_weights={weights}: loss={loss} does not look at targets.weights")


@contextlib.contextmanager
def _tried(module: Any, dataset: Dataset) -> Iterator[tuple[Tensor, Targets, Output]]:
    """What the task makes of a few training images, and what a module's network says of them."""
    assert dataset.train_split is not None
    num_classes, labels = len(dataset.class_names), dataset.train_split.labels
    count = 3 if num_classes == 2 else 2  # not the number of classes, so that no shapes fit by chance
    first = torch.stack([(labels == label).nonzero()[0, 0] for label in labels.unique()[:count]])
    rows = torch.cat([first, first])[:count]
    few = Batches(dataset.train_split.of(rows), count, classes=num_classes, composition=module.task)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        module.network.eval()
        images, targets = few.take(range(count))
        yield images, targets, module.network(images, targets.labels)
        module.network.train()


def _difference(compute: Callable[[Tensor], Iterable[Tensor | None]], labels: Tensor, probabilities: Tensor) -> str:
    """Why probabilities do not do what classes do; empty if they do."""
    torch.manual_seed(0)
    expected = compute(labels)
    torch.manual_seed(0)
    try:
        for one, other in zip(expected, compute(probabilities), strict=True):
            for name, tensor in (one if isinstance(one, dict) else {"": one}).items():
                if tensor is not None:
                    found = other[name] if isinstance(one, dict) else other
                    torch.testing.assert_close(found.float(), tensor.float(), **ROUNDING)
    except AssertionError:
        return "they change what it computes"
    except Exception as error:
        return on_one_line(error)[:200]
    return ""
