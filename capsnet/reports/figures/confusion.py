"""Confusion matrix: which classes are taken for which."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import BLUE, DPI, HEADING_HEIGHT, LEAST_WIDTH, RED, fitting_size, heading, new_figure, text_width

if TYPE_CHECKING:
    from torch import Tensor

MOST_ANNOTATED = 20
"""Classes up to which each cell shows its count."""
LARGEST_MATRIX = 11.0  # inches
BAR_WIDTH, BAR_SPACE = 0.16, 1.2  # inches; the space holds the bar with its labels
LIST_LABELS, LIST_BARS, LIST_LINE, LIST_HEADING = 2.3, 2.0, 0.23, 0.45  # inches
LONGEST_LIST, LIST_SIZE = 20, 8.5  # lines; points


def confusion(counts: "Tensor", class_names: Sequence[str], title: str) -> Figure:
    """Which classes are taken for which. With many classes, those recognized worst and the most frequent confusions are
    listed beside the matrix, in which nobody would find them.

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
    many = classes > MOST_ANNOTATED
    figure, axes, bar_axes = _layout(matrix, cell, class_names, LIST_LABELS + LIST_BARS + 0.3 if many else 0)
    # The square root makes rare mistakes visible; on a linear scale they would all look white.
    image = axes.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if many:
        _list_worst(figure, axes, numbers, class_names)
    else:
        _annotate(axes, numbers, share, cell)
    bar = figure.colorbar(image, cax=bar_axes, label="share of the true class's images")
    bar.set_ticks(np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]), labels=["0", "1%", "5%", "20%", "50%", "100%"])
    bar.outline.set_visible(False)
    correct, total = int(numbers.trace()), int(numbers.sum())
    accuracy = f"{correct / total:.2%}" if total else "none"
    heading(figure, f"{title}: confusion matrix", f"{accuracy} correct: {correct:,} of {total:,} images")
    return figure


def _layout(matrix: float, cell: float, class_names: Sequence[str], beside: float) -> tuple[Figure, Axes, Axes]:
    """A figure with room for the names, its matrix axes and its colour bar's axes; sizes in inches.

    `beside` stays free at the right.
    """
    classes = len(class_names)
    size = min(10, 0.75 * cell * 72)
    step = 1
    if size < 5:  # more names than can be read: every second, third, ...
        size, step = 5, math.ceil(5 / size)
    longest = max(text_width(name, size) for name in class_names) / DPI
    rotation = 0 if longest < 0.95 * cell else 45 if classes <= MOST_ANNOTATED else 90
    below = {0: 0.2, 45: 0.75 * longest + 0.2, 90: longest + 0.1}[rotation] + 0.35
    left = longest + 0.55
    width = max(LEAST_WIDTH, left + matrix + BAR_SPACE + beside)
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


def _list_worst(figure: Figure, matrix_axes: Axes, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """List the classes that are recognized worst, and below them the most frequent confusions."""
    totals, wrong = counts.sum(1), counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    recognized = [(counts[label, label] / totals[label], label) for label in np.flatnonzero(totals)]
    classes = [
        (class_names[label], float(share), f"{share:.0%} of {totals[label]:,}") for share, label in sorted(recognized)
    ]
    places = np.argsort(-wrong, axis=None, kind="stable")[:LONGEST_LIST]
    confusions = [
        (f"{class_names[label]} as {class_names[seen]}", float(wrong[label, seen]), f"{wrong[label, seen]:,}")
        for label, seen in zip(*np.unravel_index(places, wrong.shape), strict=True)
        if wrong[label, seen]
    ]
    width, height = figure.get_size_inches()
    box = matrix_axes.get_position()
    room = box.height * height / 2
    lines = min(LONGEST_LIST, int((room - LIST_HEADING) / LIST_LINE))
    left, top = width - LIST_BARS - 0.15, box.y1 * height
    for title, rows, color in (("worst classes", classes, BLUE), ("most frequent confusions", confusions, RED)):
        _list(figure, left, top, title, rows[:lines], color)
        top -= room


def _list(figure: Figure, left: float, top: float, title: str, rows: list[tuple[str, float, str]], color: str) -> None:
    """Draw a list with a bar for each line; `left` and `top`, in inches, are where its bars begin."""
    width, height = figure.get_size_inches()
    figure.text((left - LIST_LABELS) / width, top / height, title, fontsize=10, fontweight="bold", va="top")
    if not rows:
        return
    names, values, texts = zip(*rows, strict=True)
    tall = len(rows) * LIST_LINE
    axes = figure.add_axes((left / width, (top - 0.3 - tall) / height, LIST_BARS / width, tall / height))
    axes.barh(range(len(rows)), values, height=0.7, color=color, alpha=0.45)
    axes.set(xlim=(0, max(*values, 1e-9)), ylim=(len(rows) - 0.5, -0.5))
    size = fitting_size(list(names), LIST_SIZE, (LIST_LABELS - 0.1) * DPI)
    axes.set_yticks(range(len(rows)), names, fontsize=size, parse_math=False)
    axes.tick_params(length=0, pad=4)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    for line, text in enumerate(texts):
        axes.text(0.02 * axes.get_xlim()[1], line, text, va="center_baseline", fontsize=7.5)
