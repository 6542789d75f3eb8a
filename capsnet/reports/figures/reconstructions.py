"""Reconstructions: images above what the decoder draws of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import (
    RED,
    fitting_size,
    heading,
    magnification,
    new_sheet,
    place,
    text_width,
    to_pixels,
    write_above,
)

if TYPE_CHECKING:
    from torch import Tensor

MOST_COLUMNS = 12
IMAGE_SIDE = 112  # pixels of the figure, about
SEAM, SPACING, FRAME = 4, 22, 5  # pixels: below an input, beside it, and around a misclassified one
LABEL_SIZE, LABEL_LINE = 8.5, 24  # points; pixels from line to line


def reconstructions(
    images: "Tensor",
    drawn: "Tensor",
    labels: "Tensor",
    predictions: "Tensor",
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """Each image above its reconstruction; misclassified ones are framed and labelled "true as predicted".

    Args:
        images: [n, channels, height, width] in [0, 1].
        drawn: their reconstructions, the same shape.
        labels: true classes, [n].
        predictions: predicted classes, [n].
        class_names: names of the classes, for display.
        title: what was scored.
    """
    inputs, outputs = to_pixels(images), to_pixels(drawn)
    height, width = inputs.shape[1:3]
    scale = magnification(height, width, IMAGE_SIDE)
    pairs = list(zip(labels.tolist(), predictions.tolist(), strict=True))
    texts, lines, size = _labels(pairs, class_names, round(width * scale) + SPACING - 2 * FRAME)

    cell_height = lines * LABEL_LINE + 2 * round(height * scale) + SEAM + SPACING
    figure, axes, corners = new_sheet(len(pairs), MOST_COLUMNS, round(width * scale) + SPACING, cell_height)
    for (left, top), above, below, text, (label, prediction) in zip(
        corners, inputs, outputs, texts, pairs, strict=True
    ):
        top += lines * LABEL_LINE
        place(axes, above, left, top, scale)
        place(axes, below, left, top + round(height * scale) + SEAM, scale)
        write_above(axes, text, left + width * scale / 2, top - 8, size, "black" if label == prediction else RED)
        if label != prediction:
            _frame(axes, left, top, round(width * scale), 2 * round(height * scale) + SEAM)
    wrong = sum(label != prediction for label, prediction in pairs)
    caption = f"Input above, reconstruction below. {wrong} of {len(pairs)} misclassified"
    heading(figure, f"{title}: reconstructions", caption + (" (framed)." if wrong else "."))
    return figure


def _labels(pairs: list[tuple[int, int]], class_names: Sequence[str], width: int) -> tuple[list[str], int, float]:
    """What to write above each image, in how many lines, and in which font size.

    One line where every label then fits into `width` pixels, else two.
    """

    def labels(separator: str) -> list[str]:
        return [
            class_names[label] if label == prediction else f"{class_names[label]}{separator}{class_names[prediction]}"
            for label, prediction in pairs
        ]

    if all(text_width(text, LABEL_SIZE) <= width for text in labels(" as ")):
        return labels(" as "), 1, LABEL_SIZE
    in_two_lines = labels("\nas ")
    lines = [line for text in in_two_lines for line in text.splitlines()]
    return in_two_lines, 2, fitting_size(lines, LABEL_SIZE, width)


def _frame(axes: Axes, left: float, top: float, width: float, height: float) -> None:
    """A rectangle behind the images, which shows around them and in their seam."""
    corner, size = (left - FRAME, top - FRAME), (width + 2 * FRAME, height + 2 * FRAME)
    axes.add_patch(Rectangle(corner, *size, color=RED, linewidth=0, zorder=-1))
