"""Training curves: loss and accuracy over the epochs."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .style import BLUE, ORANGE, new_figure, percent_tick

LEAST_RATIO_FOR_LOG = 4  # below it, a log axis has too few labelled ticks to be read


def curves(metrics: dict[str, list[float]]) -> Figure:
    """Loss and accuracy over the epochs, training and validation.

    Args:
        metrics: columns of metrics.csv, one value per epoch; NaN where nothing was measured.
    """
    figure = new_figure(10, 4)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.085, right=0.985, bottom=0.13, top=0.91, wspace=0.23)
    epochs = np.asarray(metrics["epoch"])
    for axes, name in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
        _plot_splits(axes, epochs, metrics, name)
    _choose_loss_scale(loss_axes)
    _mark_best_epoch(accuracy_axes, epochs, np.asarray(metrics.get("val/accuracy", [])))
    accuracy_axes.yaxis.set_major_formatter(percent_tick)
    accuracy_axes.set_ylim(top=min(1.005, accuracy_axes.get_ylim()[1]))  # no tick above 100%
    for axes in (loss_axes, accuracy_axes):
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
    axes.set(xlabel="epoch", ylabel=name, xlim=(first, last))
    axes.set_title(name.capitalize(), fontsize=12, fontweight="bold", loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _choose_loss_scale(axes: Axes) -> None:
    losses = np.concatenate([line.get_ydata() for line in axes.lines]) if axes.lines else np.zeros(1)
    if losses.min() > 0 and losses.max() / losses.min() >= LEAST_RATIO_FOR_LOG:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def _mark_best_epoch(axes: Axes, epochs: np.ndarray, val_accuracy: np.ndarray) -> None:
    if np.isfinite(val_accuracy).any():
        best = epochs[np.nanargmax(val_accuracy)]
        axes.axvline(best, color="grey", linestyle=":", label=f"best: epoch {best:.0f}")
