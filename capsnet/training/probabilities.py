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

ROUNDING = {"rtol": 1e-4, "atol": 1e-4}


def refuse_without_probabilities(
    config: Config, module: Any, image_shape: tuple[int, int, int], num_classes: int
) -> None:
    """Raise ConfigError if a module's network or loss cannot take class probabilities.

    Both are tried on a few images: probabilities of 0 and 1 have to give what the classes themselves give. The random
    numbers of the run stay as if nothing had been tried.
    """
    count = 3 if num_classes == 2 else 2  # not the number of classes, so that no shapes fit by chance
    labels = torch.arange(count) % num_classes
    probabilities = F.one_hot(labels, num_classes).float()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        module.network.eval()
        images = torch.rand(count, *image_shape)
        output = module.network(images, labels)
        for group, compute in {
            "model": lambda true: module.network(images, true),
            "loss": lambda true: module.loss(
                output, Targets(labels, images, true if true.is_floating_point() else None), END
            ).values(),
        }.items():
            if reason := _difference(compute, labels, probabilities):
                name = f"{group}={name_of(group, getattr(config, group))}"
                refused = f"{name} cannot take class probabilities as labels ({reason})"
                raise ConfigError(f"augment.mixup={config.augment.mixup:g}: {refused}")
        module.network.train()


def _difference(compute: Callable[[Tensor], Iterable[Tensor | None]], labels: Tensor, probabilities: Tensor) -> str:
    """Why probabilities do not do what classes do; empty if they do."""
    torch.manual_seed(0)
    expected = compute(labels)
    torch.manual_seed(0)
    try:
        for one, other in zip(expected, compute(probabilities), strict=True):
            if one is not None:
                torch.testing.assert_close(other.float(), one.float(), **ROUNDING)
    except AssertionError:
        return "they change what it computes"
    except Exception as error:
        return on_one_line(error)[:200]
    return ""
