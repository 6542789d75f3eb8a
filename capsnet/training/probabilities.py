"""Can a network and a loss take class probabilities as labels? Mixup makes them of the classes."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ConfigError
from ..losses import END
from ..output import Targets
from ..settings.config import Config, name_of
from ..text import on_one_line

TOLERANCE = 1e-4


def refuse_without_probabilities(
    config: Config, module: Any, image_shape: tuple[int, int, int], num_classes: int
) -> None:
    """Raise ConfigError if a module's network or loss cannot take class probabilities.

    Both are tried on a few images: probabilities of 0 and 1 have to give what the classes themselves give. The random
    numbers of the run stay as if nothing had been tried.
    """
    count = 3 if num_classes == 2 else 2  # not the number of classes, so that no shapes fit by chance
    labels = torch.arange(count) % num_classes
    network, loss = module.network, module.loss
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.eval()
        images = torch.rand(count, *image_shape)
        _refuse_difference(config, "model", lambda true: network(images, true), labels, num_classes)
        output = network(images, labels)

        def losses(true: Tensor) -> Iterable[Tensor]:
            probabilities = true if true.is_floating_point() else None
            return loss(output, Targets(labels, images, probabilities), END).values()

        _refuse_difference(config, "loss", losses, labels, num_classes)
        network.train()


def _refuse_difference(
    config: Config, group: str, compute: Callable[[Tensor], Iterable[Tensor | None]], labels: Tensor, num_classes: int
) -> None:
    """Raise ConfigError if probabilities do not give what classes give."""
    refused = f"{group}={name_of(group, getattr(config, group))} cannot take class probabilities as labels"
    torch.manual_seed(0)
    of_classes = list(compute(labels))
    torch.manual_seed(0)
    try:
        of_probabilities = list(compute(F.one_hot(labels, num_classes).float()))
    except Exception as error:
        reason = on_one_line(error)[:200]
        raise ConfigError(f"augment.mixup={config.augment.mixup:g}: {refused} ({reason})") from error
    for one, other in zip(of_classes, of_probabilities, strict=True):
        if one is not None and not _same(one, other):
            raise ConfigError(f"augment.mixup={config.augment.mixup:g}: {refused} (they change what it computes)")


def _same(one: Tensor, other: Tensor) -> bool:
    """Are they the same but for rounding?"""
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=TOLERANCE, atol=TOLERANCE)
