"""Mistakes: the misclassified images of which the network was most certain."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from .style import (
    HEADING_HEIGHT,
    LEAST_WIDTH,
    RED,
    fitting_size,
    heading,
    magnification,
    new_figure,
    new_sheet,
    place,
    to_pixels,
    write_above,
)

if TYPE_CHECKING:
    from torch import Tensor

MOST_MISTAKES, MOST_COLUMNS = 40, 8
IMAGE_SIDE = 112  # pixels of the figure, about
SPACING, LABEL_LINE, LABEL_SIZE = 44, 24, 8.5  # pixels beside an image; pixels from line to line; points


def mistakes(
    images: "Tensor",
    labels: "Tensor",
    predictions: "Tensor",
    confidences: "Tensor",
    class_names: Sequence[str],
    title: str,
    count: tuple[int, int],
) -> Figure:
    """Each image below its true class, and the class that it was taken for with its score.

    Args:
        images: misclassified ones, the most certain first, [n, channels, height, width] in [0, 1].
        labels: true classes, [n].
        predictions: predicted classes, [n].
        confidences: scores of the predicted classes, [n].
        class_names: names of the classes, for display.
        title: what was scored.
        count: of all mistakes, and of all images.
    """
    wrong, total = count
    if not len(labels):
        figure = new_figure(LEAST_WIDTH, HEADING_HEIGHT)
        heading(figure, f"{title}: mistakes", f"None among {total:,} images.")
        return figure
    pixels = to_pixels(images)
    height, width = pixels.shape[1:3]
    scale = magnification(height, width, IMAGE_SIDE)
    cell_width, cell_height = round(width * scale) + SPACING, round(height * scale) + 2 * LABEL_LINE + SPACING
    figure, axes, corners = new_sheet(len(pixels), MOST_COLUMNS, cell_width, cell_height)
    true_names = [class_names[label] for label in labels.tolist()]
    seen_names = [
        f"as {class_names[label]}  {score:.2f}"
        for label, score in zip(predictions.tolist(), confidences.tolist(), strict=True)
    ]
    size = fitting_size([*true_names, *seen_names], LABEL_SIZE, cell_width - 8)
    for (left, top), image, true, seen in zip(corners, pixels, true_names, seen_names, strict=True):
        left, top = left + SPACING / 2, top + 2 * LABEL_LINE
        place(axes, image, left, top, scale)
        middle = left + width * scale / 2
        write_above(axes, true, middle, top - 7 - LABEL_LINE, size)
        write_above(axes, seen, middle, top - 7, size, RED)
    shown = "" if len(labels) == wrong else f", of which the {len(labels)} most certain are shown"
    heading(
        figure,
        f"{title}: mistakes",
        f"{wrong:,} of {total:,} images{shown}. Above: the true class, and the predicted one with its score.",
    )
    return figure
