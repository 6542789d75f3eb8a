"""Training curves: the loss and another metric over the epochs."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ...runs.measures import part_of
from ...settings.config import Monitor
from ...text import is_loss, is_share
from .style import BLUE, ORANGE, epoch_axis, new_figure, open_axes, percent_tick

LEAST_RATIO_FOR_LOG = 4  # below it, a log axis has too few labelled ticks to be read


def curves(metrics: dict[str, list[float]], monitor: Monitor) -> Figure:
    """The loss and another metric over the epochs, training and validation.

    Args:
        metrics: columns of metrics.csv, one value per epoch; NaN where nothing was measured.
        monitor: what tells the best epoch. It is drawn, or, if it is the loss, the first metric that is none.
    """
    first = next((name for name in map(part_of, metrics) if name and not is_loss(name)), "")
    monitored = part_of(monitor.name)
    other = first if monitored == "loss" else monitored
    names = ["loss", other] if other else ["loss"]
    figure = new_figure(5 * len(names), 4)
    by_name = dict(zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True))
    left, right = (0.085, 0.985) if other else (0.16, 0.97)
    figure.subplots_adjust(left=left, right=right, bottom=0.13, top=0.91, wspace=0.23)
    epochs = np.asarray(metrics["epoch"])
    for name, axes in by_name.items():
        _plot_splits(axes, epochs, metrics, name)
        if is_loss(name):
            _choose_log_scale(axes)
        elif is_share(name, _drawn(axes)):
            axes.yaxis.set_major_formatter(percent_tick)
            axes.set_ylim(top=min(1.005, axes.get_ylim()[1]))  # no tick above 100%
        if name == monitored:
            _mark_best_epoch(axes, metrics, monitor)
        if axes.lines:
            axes.legend(frameon=False)
    return figure


def _plot_splits(axes: Axes, epochs: np.ndarray, metrics: dict[str, list[float]], name: str) -> None:
    for split, label, colour in (("train", "training", BLUE), ("val", "validation", ORANGE)):
        values = np.asarray(metrics.get(f"{split}/{name}", []), dtype=float)
        measured = np.isfinite(values)
        if measured.any():
            axes.plot(epochs[measured], values[measured], label=label, color=colour, marker="o", markersize=3)
    margin = max(0.25, 0.04 * (epochs[-1] - epochs[0]))
    first, last = epochs[0] - min(0.9, margin), epochs[-1] + margin  # no tick at 0: epochs count from 1
    words = name.replace("_", " ")
    open_axes(axes, words.capitalize(), "epoch")
    axes.set(ylabel=words, xlim=(first, last))
    epoch_axis(axes)


def _drawn(axes: Axes) -> np.ndarray:
    """All values that the lines show."""
    return np.concatenate([line.get_ydata() for line in axes.lines]) if axes.lines else np.zeros(1)


def _choose_log_scale(axes: Axes) -> None:
    losses = _drawn(axes)
    if losses.min() > 0 and losses.max() / losses.min() >= LEAST_RATIO_FOR_LOG:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _mark_best_epoch(axes: Axes, metrics: dict[str, list[float]], monitor: Monitor) -> None:
    best: dict[str, float] = {}
    for row in (dict(zip(metrics, values, strict=True)) for values in zip(*metrics.values(), strict=True)):
        if np.isfinite(row.get(monitor.name, np.nan)) and (not best or monitor.improves(row, best)):
            best = row
    if best:
        axes.axvline(best["epoch"], color="grey", linestyle=":", label=f"best: epoch {best['epoch']:.0f}")
