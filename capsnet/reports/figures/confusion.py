"""Confusion matrix: which classes are taken for which."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import DPI, HEADING_HEIGHT, LEAST_WIDTH, heading, new_figure, text_width

if TYPE_CHECKING:
    from torch import Tensor

MOST_ANNOTATED = 20
"""Classes up to which each cell shows its count."""
LARGEST_MATRIX = 11.0  # inches
BAR_WIDTH, BAR_SPACE = 0.16, 1.2  # inches; the space holds the bar with its labels


def confusion(counts: "Tensor", class_names: Sequence[str], title: str) -> Figure:
    """Which classes are taken for which.

    Args:
        counts: images by true class (rows) and predicted class (columns), [classes, classes].
        class_names: names of the classes, for display.
        title: what was scored.
    """
    numbers = np.asarray(counts.cpu())
    share = numbers / numbers.sum(1, keepdims=True).clip(min=1)
    classes = len(class_names)
    cell = 0.5 if classes <= MOST_ANNOTATED else min(0.21, LARGEST_MATRIX / classes)
    matrix = max(3.2, cell * classes)
    cell = matrix / classes
    figure, axes, bar_axes = _layout(matrix, cell, class_names)
    # The square root makes rare mistakes visible; on a linear scale they would all look white.
    image = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if classes <= MOST_ANNOTATED:
        _annotate(axes, numbers, share, cell)
    bar = figure.colorbar(image, cax=bar_axes, label="share of the true class's images")
    bar.set_ticks(np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]), labels=["0", "1%", "5%", "20%", "50%", "100%"])
    bar.outline.set_visible(False)
    correct, total = int(numbers.trace()), int(numbers.sum())
    accuracy = f"{correct / total:.2%}" if total else "none"
    heading(figure, f"{title}: confusion matrix", f"{accuracy} correct: {correct:,} of {total:,} images")
    return figure


def _layout(matrix: float, cell: float, class_names: Sequence[str]) -> tuple[Figure, Axes, Axes]:
    """A figure with room for the names, its matrix axes and its colour bar's axes; sizes in inches."""
    classes = len(class_names)
    size = min(10, 0.75 * cell * 72)
    step = 1
    if size < 5:  # more names than can be read: every second, third, ...
        size, step = 5, math.ceil(5 / size)
    longest = max(text_width(name, size) for name in class_names) / DPI
    rotation = 0 if longest < 0.95 * cell else 45 if classes <= MOST_ANNOTATED else 90
    below = {0: 0.2, 45: 0.75 * longest + 0.2, 90: longest + 0.1}[rotation] + 0.35
    left = longest + 0.55
    width = max(LEAST_WIDTH, left + matrix + BAR_SPACE)
    height = HEADING_HEIGHT + matrix + below
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, below / height, matrix / width, matrix / height))
    shown = range(0, classes, step)
    names = [class_names[index] for index in shown]
    anchor = {"ha": "right", "rotation_mode": "anchor"} if rotation == 45 else {}
    axes.set_xticks(shown, names, rotation=rotation, fontsize=size, parse_math=False, **anchor)
    axes.set_yticks(shown, names, fontsize=size, parse_math=False)
    axes.tick_params(length=0, pad=4)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.spines[:].set_color("#cccccc")
    bar_height = min(matrix, 4)
    bottom = below + (matrix - bar_height) / 2
    bar_axes = figure.add_axes(((left + matrix + 0.2) / width, bottom / height, BAR_WIDTH / width, bar_height / height))
    return figure, axes, bar_axes


def _annotate(axes: Axes, counts: np.ndarray, share: np.ndarray, cell: float) -> None:
    """Write each count, except zeros, into its cell."""
    size = min(9, 0.9 * cell * 72 / (0.6 * len(str(counts.max()))))
    for row, column in np.argwhere(counts):
        ink = "white" if share[row, column] > 0.4 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, fontsize=size)
