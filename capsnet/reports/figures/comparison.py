"""Several networks side by side: learning curves, and accuracy under distortion."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...runs.measures import in_words, part_of
from ...settings.config import Monitor
from ...text import is_share
from .robustness import COLUMNS, PANEL_HEIGHT, PANEL_WIDTH, Curves, draw_band, draw_robustness
from .style import COLOURS, GREY, epoch_axis, heading, new_panels, open_axes, percent_tick

MOST_NETWORKS = len(COLOURS)
Metrics = Mapping[str, Sequence[float]]


def comparison(
    training: Mapping[str, Sequence[Metrics]],
    robustness: Mapping[str, Sequence[Curves]],
    units: Mapping[str, str],
    monitor: Monitor,
) -> Figure:
    """Learning curves of several networks, and their accuracy on distorted test images where it was measured.

    Lines are means over seeds, bands one standard deviation.

    Args:
        training: columns of each run's metrics.csv, by the network's label; at most `MOST_NETWORKS`.
        robustness: accuracy by distortion and level of each run, by the network's label.
        units: of the levels, by distortion.
        monitor: whose curves are drawn.
    """
    measured = {label: curves for label, curves in robustness.items() if curves}
    figure, grid = new_panels(COLUMNS + (len(units) if measured else 0), COLUMNS, PANEL_WIDTH, PANEL_HEIGHT)
    validation, train, legend, *distortions = grid
    lines = _draw_curves(validation, training, f"val/{part_of(monitor.name)}")
    _draw_curves(train, training, f"train/{part_of(monitor.name)}")
    legend.set_axis_off()
    legend.legend(lines, list(training), loc="center left", frameon=False, fontsize=9)
    if measured:
        draw_robustness(distortions, measured, units, dict(zip(training, COLOURS, strict=False)))
    heading(figure, "Comparison", _caption(training, bool(measured)))
    return figure


def _draw_curves(axes: Axes, training: Mapping[str, Sequence[Metrics]], column: str) -> list:
    """Draw a column of the metrics over the epochs, and return the lines."""
    lines, later = [], []
    for (label, runs), colour in zip(training.items(), COLOURS, strict=False):
        series = [np.asarray(run[column], dtype=float) for run in runs if column in run]
        length = min(map(len, series), default=0)
        values = np.array([one[:length] for one in series]).reshape(max(1, len(series)), length)
        shown = np.isfinite(values).all(0)
        draw_band(axes, np.arange(1, length + 1)[shown], values[:, shown], label, colour)
        lines.append(axes.lines[-1])
        later += values[:, shown & (np.arange(length) >= length // 4)].flatten().tolist()
    if not any(len(line.get_xdata()) for line in lines):
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
    if is_share(column, later):
        axes.set_ylim(max(0.0, min(later, default=0) - 0.02), 1.002)
        axes.yaxis.set_major_formatter(percent_tick)
    else:
        low, high = min(later, default=0), max(later, default=1)
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1
        axes.set_ylim(low - margin, high + margin)
    open_axes(axes, in_words(column).capitalize(), "epoch")
    epoch_axis(axes)
    return lines


def _caption(training: Mapping[str, Sequence[Metrics]], measured: bool) -> str:
    sentences = ["Scaled to what comes after the first quarter of the epochs."]
    if any(len(runs) > 1 for runs in training.values()):
        sentences.append("Lines: mean over seeds, as far as all of them go; bands: standard deviation.")
    if measured:
        sentences.append("Below: accuracy, or what else the task is judged by, on distorted test images.")
    return " ".join(sentences)
