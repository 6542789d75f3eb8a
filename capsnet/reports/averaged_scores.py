"""Class scores of a network, averaged over small shifts of the images."""

import torch
from torch import Tensor, nn

from ..augment.ground import on_ground
from ..augment.shift import shift
from ..data.batches import Batches
from ..errors import ConfigError
from ..tasks.task import Task


@torch.no_grad()
def class_scores(network: nn.Module, batches: Batches, task: Task, logits: bool, shifts: int = 0) -> Tensor:
    """Scores of images, [n, classes] on the CPU, as of `Task.confidences`: lengths of capsules, or probabilities.

    Args:
        network: on the device of the batches.
        batches: of the items to be scored.
        task: what is learned.
        logits: the network's scores are logits, see `Task.confidences`.
        shifts: the scores are means over all shifts by up to so many pixels down, up, right and left; what comes in
            from outside has the color of the image's border.

    Raises:
        ConfigError: the images are too small for such shifts.
    """
    network.eval()
    steps = range(-shifts, shifts + 1)
    moves = torch.tensor([(down, right) for down in steps for right in steps])
    found = []
    for images, _ in batches:
        if shifts >= min(images.shape[2:]):
            raise ConfigError(f"shifts={shifts}: the images have only {images.shape[2]}x{images.shape[3]} pixels")
        moved = (_shifted(images, move) for move in moves)
        passes = [task.confidences(network(some), logits).float() for some in moved]
        found.append(torch.stack(passes).mean(0).cpu())
    return torch.cat(found)


def _shifted(images: Tensor, move: Tensor) -> Tensor:
    """All images moved alike, by pixels down and right, [2]."""
    return on_ground(images, lambda inner: shift(inner, move.to(images.device).expand(len(images), 2)))
