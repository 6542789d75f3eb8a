"""Perturbations: what each dimension of a class capsule means (figure 4 of Sabour et al. 2017)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import (
    GAP,
    GREY,
    ORANGE,
    fitting_size,
    heading,
    magnification,
    mosaic,
    new_sheet,
    place,
    to_pixels,
    write_above,
)

if TYPE_CHECKING:
    from torch import Tensor

TWEAKS = np.arange(-5, 6) * 0.05  # section 5.1 of the paper: [-0.25, 0.25] in steps of 0.05, of capsules below length 1
MOST_PANELS, MOST_COLUMNS = 10, 5
MOST_DIMENSIONS = 6  # of a panel; the explorer shows all
BATCH_SIZE = 2048  # images decoded at once: all of ten panels with 16 dimensions
IMAGE_SIDE = 40  # pixels of the figure, about
NUMBERS_WIDTH, NAME_HEIGHT, AMOUNTS_HEIGHT, SPACING = 26, 38, 46, 20  # pixels: left of, above, below, beside a panel


def perturbations(
    decode: "Callable[[Tensor, Tensor], Tensor]",
    capsules: "Tensor",
    labels: "Tensor",
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """What the decoder draws when one dimension of the true class's capsule is changed: a panel per class.

    In a panel, the dimensions that change the drawing most run downwards, the strongest first; changes, from -0.25 to
    0.25 in steps of 0.05, run from left to right. Of capsules that are longer than 1 on average, such as poses, changes
    are so many times larger.

    Args:
        decode: draws images [n, channels, height, width] of capsules [n, classes, dim] and their classes [n].
        capsules: of one image per panel, [panels, classes, dim]; the first ten are drawn.
        labels: their classes, [panels]; the capsule of this class is changed.
        class_names: names of the classes, for display.
        title: what the images are from.
    """
    capsules, labels = capsules[:MOST_PANELS], labels[:MOST_PANELS]
    lengths = capsules[range(len(labels)), labels].float().norm(dim=1)
    amounts = TWEAKS * max(1.0, float(lengths.mean()))
    drawn = _decode_perturbed(decode, capsules, labels, amounts)
    chosen = [_strongest(images) for images in drawn]
    dims = len(chosen[0])
    tiles = [to_pixels(images[dimensions].flatten(0, 1)) for images, dimensions in zip(drawn, chosen, strict=True)]
    height, width = tiles[0].shape[1:3]
    scale = magnification(height, width, IMAGE_SIDE)
    pitch_x, pitch_y = (width + GAP) * scale, (height + GAP) * scale  # from tile to tile
    panel_width, panel_height = round(len(TWEAKS) * pitch_x), round(dims * pitch_y)

    figure, axes, corners = new_sheet(
        len(tiles),
        MOST_COLUMNS,
        NUMBERS_WIDTH + panel_width + SPACING,
        NAME_HEIGHT + panel_height + AMOUNTS_HEIGHT,
    )
    names = [class_names[label] for label in labels.tolist()]
    name_size = fitting_size(names, 10, panel_width)
    for (left, top), panel, dimensions, name in zip(corners, tiles, chosen, names, strict=True):
        left, top = left + NUMBERS_WIDTH, top + NAME_HEIGHT
        place(axes, mosaic(panel, dims, len(TWEAKS)), left, top, scale)
        write_above(axes, name, left + panel_width / 2, top - 9, name_size)
        _number_tiles(axes, left, top, pitch_x, pitch_y, dimensions, amounts)
        corner = left + (len(TWEAKS) // 2) * pitch_x - GAP * scale / 2, top - GAP * scale / 2
        axes.add_patch(Rectangle(corner, pitch_x, dims * pitch_y, fill=False, edgecolor=ORANGE, linewidth=1))
    heading(
        figure,
        f"{title}: perturbed capsules",
        "Each row changes one dimension of the true class's capsule, those that change the drawing most, by the amount"
        " below; framed: unchanged.",
    )
    return figure


def _decode_perturbed(
    decode: "Callable[[Tensor, Tensor], Tensor]", capsules: "Tensor", labels: "Tensor", amounts: np.ndarray
) -> "list[Tensor]":
    """Images of each panel, [dims, amounts, channels, height, width]."""
    import torch  # here, so that a sweep is drawn without waiting for torch

    panels, classes, dims = capsules.shape
    tweaks = torch.as_tensor(amounts, dtype=capsules.dtype, device=capsules.device)
    changes = (torch.eye(dims, dtype=capsules.dtype, device=capsules.device)[:, None] * tweaks[:, None]).flatten(0, 1)
    of_true_class = torch.nn.functional.one_hot(labels, classes)  # [panels, classes]
    with torch.no_grad():
        # [panels, dims * tweaks, classes, dims]
        perturbed = capsules[:, None] + of_true_class[:, None, :, None] * changes[:, None]
        labels = labels.repeat_interleave(len(changes))
        batches = zip(perturbed.flatten(0, 1).split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
        images = torch.cat([decode(*batch) for batch in batches])
    return list(images.unflatten(0, (panels, dims, len(tweaks))))


def _strongest(images: "Tensor") -> list[int]:
    """The dimensions with the largest difference between the outermost images of a panel, the strongest first."""
    effects = (images[:, -1] - images[:, 0]).abs().flatten(1).float().mean(1)
    return effects.argsort(descending=True)[:MOST_DIMENSIONS].tolist()


def _number_tiles(
    axes: Axes,
    left: float,
    top: float,
    pitch_x: float,
    pitch_y: float,
    dimensions: Sequence[int],
    amounts: np.ndarray,
) -> None:
    """Number the dimensions left of a panel, and write some of the amounts below it."""
    style = {"fontsize": 6, "color": GREY}
    for row, dimension in enumerate(dimensions):
        axes.text(left - 6, top + (row + 0.5) * pitch_y, str(dimension + 1), ha="right", va="center_baseline", **style)
    for column in range(0, len(TWEAKS), 5):
        amount = f"{amounts[column]:+.2f}".replace("-", "−") if amounts[column] else "0"
        x, y = left + (column + 0.5) * pitch_x, top + len(dimensions) * pitch_y + 7
        axes.text(x, y, amount, ha="center", va="top", **style)
