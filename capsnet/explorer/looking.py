"""What the explorer shows of one picture: scores, capsules, and what the decoder draws of capsules that are moved."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..augment.affine import resample, rotation, scaling
from ..data.batches import to_float
from ..data.pictures import border
from ..runs.trained import TrainedModel

MOST_DRAWINGS = 10  # classes whose capsule is drawn at once
WALK_STEPS, BETWEEN_STEPS = 11, 9
EVEN = 8  # difference of brightness, of 255, below which a picture counts as having one color all over


class Change(NamedTuple):
    """How a picture is changed before the network sees it."""

    rotation: float = 0
    """Degrees, clockwise."""
    right: float = 0
    """Share of the width."""
    down: float = 0
    """Share of the height."""
    size: float = 1
    """Times the size."""


UNCHANGED = Change()


class Abilities(NamedTuple):
    """Which parts of the explorer a network has something to show in."""

    dimensions: int | None
    """Of a class capsule; None for a network without capsules."""
    decoder: bool
    """It draws an image of a class capsule."""
    routing: bool
    """It has a routing, though its coupling may not be known."""


class Look(NamedTuple):
    """What a network says about one picture."""

    seen: Tensor
    """What the network was given, [channels, height, width] in [0, 1]."""
    scores: Tensor
    """[classes], each in [0, 1]."""
    answers: list[int]
    """The classes that are named, the one with the largest score first."""
    capsules: Tensor | None
    """[classes, dim], or None."""
    drawn: list[int]
    """The classes whose capsule is drawn: those with the largest scores, largest first."""
    drawings: Tensor | None
    """What the decoder draws of each of these capsules, [n, channels, height, width] in [0, 1]; None without one."""


def abilities(model: TrainedModel) -> Abilities:
    """What a network can show, found out by letting it look at a black image."""
    output = model.output(torch.zeros(1, *model.image_shape))
    routes = isinstance(getattr(model.network, "routing", None), nn.Module)
    if output.capsules is None:
        return Abilities(None, False, routes)
    return Abilities(output.capsules.shape[-1], model.draws(output), routes)


def is_even(pixels: np.ndarray) -> bool:
    """Has a picture, [channels, height, width] uint8, the same color all over?"""
    return bool(np.ptp(pixels.astype(int), axis=(1, 2)).max() < EVEN)


def changed(pixels: np.ndarray, change: Change) -> Tensor:
    """A picture turned, moved and scaled. What comes in from outside has the color of its border.

    Args:
        pixels: [channels, height, width] uint8.

    Returns:
        [channels, height, width] in [0, 1].
    """
    image = to_float(torch.from_numpy(pixels))[None]
    if change == UNCHANGED:
        return image[0]
    height, width = image.shape[2:]
    paper = torch.from_numpy(np.median(border(pixels), axis=1) / 255).float()[:, None, None]
    matrix = scaling(torch.tensor([float(change.size)])) @ rotation(torch.tensor([float(change.rotation)]))
    away = -torch.tensor([float(change.right * width), float(change.down * height)])
    # The place in the image that a place in the result shows: first moved back, then turned and scaled back.
    displacement = (matrix @ away[:, None]).reshape(1, 1, 1, 2)
    return (resample(image - paper, matrix, displacement) + paper)[0].clamp(0, 1)


def look(model: TrainedModel, pixels: np.ndarray, change: Change = UNCHANGED) -> Look:
    """Show a picture to the network.

    Args:
        model: the trained network.
        pixels: [channels, height, width] uint8, as `TrainedModel.pixels` prepares them.
        change: what is done to the picture first.
    """
    seen = changed(pixels, change)
    output = model.output(seen[None])
    scores = model.confidences(output)[0].cpu()
    answers = model.task.answers(scores[None]).flatten().tolist()
    order = scores.argsort(descending=True)[:MOST_DRAWINGS].tolist()
    if output.capsules is None:
        return Look(seen, scores, answers, None, [], None)
    capsules = output.capsules[0].float()
    if not model.draws(output):
        return Look(seen, scores, answers, capsules.cpu(), [], None)
    drawings = _decode(model, capsules.expand(len(order), -1, -1), torch.tensor(order))
    return Look(seen, scores, answers, capsules.cpu(), order, drawings)


def draw(model: TrainedModel, capsules: Tensor, label: int) -> Tensor:
    """What the decoder draws of capsules of one class, [n, dim] -> [n, channels, height, width] in [0, 1]."""
    placed = torch.zeros(len(capsules), len(model.class_names), capsules.shape[1])
    placed[:, label] = capsules
    return _decode(model, placed, torch.full((len(capsules),), label))


def walk(model: TrainedModel, capsule: Tensor, label: int, dimension: int, limit: float) -> tuple[list[float], Tensor]:
    """What the decoder draws while one dimension goes from -limit to limit, and the others stay as they are.

    Args:
        model: has a decoder.
        capsule: of a class, [dim].
        label: this class.
        dimension: which number of the capsule changes, counted from 0.
        limit: how far it goes.

    Returns:
        The values that the dimension takes, and a drawing for each, [n, channels, height, width].
    """
    values = torch.linspace(-limit, limit, WALK_STEPS)
    capsules = capsule.repeat(WALK_STEPS, 1)
    capsules[:, dimension] = values
    return values.tolist(), draw(model, capsules, label)


def between(model: TrainedModel, first: Tensor, second: Tensor, label: int) -> Tensor:
    """What the decoder draws on the straight way from one capsule of a class to another.

    Args:
        model: has a decoder.
        first, second: capsules of the same class, [dim], of two pictures.
        label: this class.

    Returns:
        [BETWEEN_STEPS, channels, height, width]: the first capsule's drawing, what lies between, the second's drawing.
    """
    shares = torch.linspace(0, 1, BETWEEN_STEPS)[:, None]
    return draw(model, (1 - shares) * first.cpu() + shares * second.cpu(), label)


@torch.no_grad()
def _decode(model: TrainedModel, capsules: Tensor, labels: Tensor) -> Tensor:
    return model.network.decode(capsules.to(model.device), labels.to(model.device)).float().clamp(0, 1).cpu()
