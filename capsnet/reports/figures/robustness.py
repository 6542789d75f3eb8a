"""Robustness: accuracy over the strength of each distortion, of one network or of several."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import BLUE, heading, new_panels, open_axes, percent_tick

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.7  # inches
COLUMNS = 3

Curves = Mapping[str, Mapping[float, float]]
"""Accuracy by distortion and level."""


def robustness(curves: Curves, units: Mapping[str, str], title: str, measure: str = "accuracy") -> Figure:
    """What one network reaches on distorted test images, a panel for each distortion.

    Args:
        curves: accuracy by distortion and level.
        units: of the levels, by distortion.
        title: what was scored.
        measure: in which metric.
    """
    figure, grid = new_panels(len(units), COLUMNS, PANEL_WIDTH, PANEL_HEIGHT, sharey=True)
    draw_robustness(grid, {"": [curves]}, units, {"": BLUE})
    measured = measure.replace("_", " ").capitalize()
    outside = "What comes in from outside has the color of the image's border."
    heading(figure, f"{title}: robustness", f"{measured} on distorted test images. {outside}")
    return figure


def draw_robustness(
    grid: Sequence[Axes],
    networks: Mapping[str, Sequence[Curves]],
    units: Mapping[str, str],
    colours: Mapping[str, str],
) -> None:
    """Draw each network's mean accuracy into a panel for each distortion, with a band of one standard deviation.

    Args:
        grid: as many axes as there are distortions.
        networks: the curves of each network's runs, by label.
        units: of the levels, by distortion.
        colours: by label.
    """
    every = [
        value for runs in networks.values() for run in runs for levels in run.values() for value in levels.values()
    ]
    for axes, (name, unit) in zip(grid, units.items(), strict=True):
        for label, runs in networks.items():
            measured = [run[name] for run in runs if name in run]
            if not measured:
                continue
            levels = list(measured[0])
            accuracies = np.array([[run[level] for level in levels] for run in measured if list(run) == levels])
            draw_band(axes, levels, accuracies, label, colours[label])
        open_axes(axes, name.capitalize(), unit)
        if all(0 <= value <= 1 for value in every):  # a task's monitor may be no share
            axes.set_ylim(0, 1.02)
            axes.yaxis.set_major_formatter(percent_tick)


def draw_band(axes: Axes, places: Sequence[float], values: np.ndarray, label: str, colour: str) -> None:
    """The mean of several runs as a line, with a band of one standard deviation around it.

    Args:
        axes: to draw into.
        places: on the x axis, [n].
        values: [runs, n].
        label: for the legend.
        colour: of line and band.
    """
    mean = values.mean(0)
    axes.plot(places, mean, label=label, color=colour, marker="o", markersize=3)
    if len(values) > 1:
        deviation = values.std(0, ddof=1)
        axes.fill_between(places, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0)
