"""Pairs: two characters on top of each other, and what the decoder draws of each, in two colours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import BLUE, ORANGE, RED, fitting_size, heading, magnification, new_sheet, place, to_pixels

if TYPE_CHECKING:
    from torch import Tensor

MOST_COLUMNS = 8
IMAGE_SIDE = 120  # pixels of the figure, about
SEAM, SPACING, FRAME = 4, 26, 5  # pixels: below an image, beside it, and around a wrong one
LABEL_SIZE, LABEL_LINE = 8.5, 24  # points; pixels from line to line
LIGHT = np.array([[1.0, 0.5, 0.05], [0.2, 0.55, 1.0]])  # of the two drawings on black
SHADE = 0.35  # of the image under its drawings


def pairs(
    images: "Tensor",
    drawn: "Tensor | None",
    labels: "Tensor",
    answers: "Tensor",
    scores: "Tensor",
    class_names: Sequence[str],
    title: str,
    count: tuple[int, int],
    on_light: bool = False,
) -> Figure:
    """Each image, and below it the two drawings laid over it in two colours, as in figure 5 of Sabour et al. (2017).

    Above it are its two classes, and below these the ones that were named, with their scores, in the colours of their
    drawings. Images that are not wholly right are framed.

    Args:
        images: [n, channels, height, width] in [0, 1].
        drawn: of the classes that were named, [n, 2, channels, height, width]; None: the network does not draw.
        labels: true classes, [n, 2].
        answers: classes that were named, [n, 2], in the order of the true ones where they are right.
        scores: of these, [n, 2].
        class_names: names of the classes, for display.
        title: what was scored.
        count: of the pairs that are right, and of all.
        on_light: the characters are dark on light.
    """
    pixels = to_pixels(images)
    height, width = pixels.shape[1:3]
    scale = magnification(height, width, IMAGE_SIDE)
    wide, tall = round(width * scale), round(height * scale)
    rows_of_images = 1 if drawn is None else 2
    top_of_images, whole = 2 * LABEL_LINE, rows_of_images * (tall + SEAM) - SEAM
    figure, axes, corners = new_sheet(len(pixels), MOST_COLUMNS, wide + SPACING, top_of_images + whole + SPACING)
    true = [" + ".join(class_names[label] for label in pair) for pair in labels.tolist()]
    named = [
        [f"{class_names[label]} {score:.2f}" for label, score in zip(*pair, strict=True)]
        for pair in zip(answers.tolist(), scores.tolist(), strict=True)
    ]
    size = fitting_size([*true, *(" + ".join(pair) for pair in named)], LABEL_SIZE, wide + SPACING - 8)
    wrong = (labels != answers).any(1).tolist()
    for number, (left, top) in enumerate(corners):
        left, top = left + SPACING / 2, top + top_of_images
        place(axes, pixels[number], left, top, scale)
        if drawn is not None:
            place(axes, overlaid(pixels[number], to_pixels(drawn[number]), on_light), left, top + tall + SEAM, scale)
        middle, style = left + wide / 2, {"va": "bottom", "fontsize": size, "parse_math": False}
        axes.text(middle, top - 8 - LABEL_LINE, true[number], ha="center", **style)
        for text, colour, side, away in zip(named[number], (ORANGE, BLUE), ("right", "left"), (-4, 4), strict=True):
            axes.text(middle + away, top - 8, text, ha=side, color=colour, **style)
        if wrong[number]:
            corner = (left - FRAME, top - FRAME)
            frame = (wide + 2 * FRAME, whole + 2 * FRAME)
            axes.add_patch(Rectangle(corner, *frame, color=RED, linewidth=0, zorder=-1))
    right, total = count
    below = "" if drawn is None else "Below, what is drawn of each. "
    heading(
        figure,
        f"{title}: two characters on top of each other",
        f"Both named in {right / total:.2%} of {total:,} pairs. {below}Framed: not wholly right.",
    )
    return figure


def overlaid(image: np.ndarray, drawn: np.ndarray, on_light: bool = False) -> np.ndarray:
    """Two drawings in two colours over a fainter image, [height, width, 3] in [0, 1].

    Args:
        image: [height, width] or [height, width, 3].
        drawn: [2, height, width] or [2, height, width, 3]; of colours, the mean counts.
        on_light: the characters are dark on light; otherwise bright on black.
    """
    gray = image if image.ndim == 2 else image.mean(-1)
    strength = drawn if drawn.ndim == 3 else drawn.mean(-1)
    if on_light:
        lost = SHADE * (1 - gray[..., None]) + np.einsum("khw,kc->hwc", 1 - strength, 1 - LIGHT)
        return (1 - lost).clip(0, 1)
    return (SHADE * gray[..., None] + np.einsum("khw,kc->hwc", strength, LIGHT)).clip(0, 1)
