"""A sweep's jobs: a metric against each swept setting, and that of the test against size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from ...runs.measures import in_test, in_words
from ...runs.repetitions import spread
from ...settings.config import Monitor
from ...text import is_share
from .style import (
    BLUE,
    DPI,
    GREY,
    ORANGE,
    fitting_size,
    heading,
    new_panels,
    open_axes,
    percent_tick,
    text_width,
)

LEAST_SPAN, LEAST_DEVIATIONS = 0.02, 4
"""The metric's axis spans at least this much, so that differences by chance look as small as they are. If it is not a
share, its least span is relative to its largest value."""
LEAST_RATIO_FOR_LOG = 10
LEAST_RATIO_OF_SIZES = 1.05
"""Networks that differ less in size are of one size."""
PANEL_HEIGHT, PANEL_WIDTH, ONLY_PANEL_WIDTH = 3.4, 4.0, 6.5  # inches
TICK_SIZE, TICK_SPACING = 9, 12  # points; pixels between labels
LONGEST_LABEL = 18  # characters
LABEL_HEIGHT = 0.065  # of a panel
BAR = {"linestyle": "none", "color": ORANGE, "elinewidth": 1.2, "capsize": 4, "capthick": 1.2}


@dataclass
class Group:
    """Jobs that share a value of the swept setting, or all settings but the seed."""

    label: str
    position: float
    """On the panel's axis: the value, or the number of the network's parameters."""
    values: list[float]
    """Of the metric, one per job."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation of the sample; 0 where there is one job."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


def sweep_panels(values: dict[str, dict[str, list[float]]], by_size: Sequence[Group], metric: Monitor) -> Figure:
    """A metric of each job against each swept setting: a panel per key, all with one axis for the metric.

    Args:
        values: of the metric, by key, by value as text in the order of the axis, one number per job.
        by_size: the settings at the sizes of their networks, with the metric in the test; if the sizes differ by more
            than 5 %, another panel shows them.
        metric: which one it is.
    """
    sizes = [setting.position for setting in by_size]
    differ_in_size = bool(sizes) and max(sizes) > LEAST_RATIO_OF_SIZES * min(sizes)
    panels = len(values) + differ_in_size
    columns = 2 if panels == 4 else min(3, panels)
    width = PANEL_WIDTH if columns > 1 else ONLY_PANEL_WIDTH
    figure, grid = new_panels(panels, columns, width, PANEL_HEIGHT, sharey=not differ_in_size)
    groups_by_key = {key: _groups(key, by_value) for key, by_value in values.items()}
    for axes, (key, groups) in zip(grid, groups_by_key.items(), strict=False):
        open_axes(axes)
        _draw_panel(axes, key, groups, (width - 0.9) * DPI, metric.name)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(_label(metric.name))
        _metric_axis(axes, metric.name, groups_by_key)
    if differ_in_size:
        open_axes(grid[-1])
        _draw_sizes(grid[-1], by_size, Monitor(in_test(metric.name), metric.lower_is_better))
    keys = ", ".join(values) if len(values) <= 3 else f"{len(values)} settings"
    heading(figure, f"Sweep over {keys}", _caption(groups_by_key))
    return figure


def _label(metric: str) -> str:
    """best validation accuracy: the best epoch was chosen by it; or test accuracy."""
    return in_words(metric) if metric.startswith("test/") else f"best {in_words(metric)}"


def _is_seed(key: str) -> bool:
    return key.rpartition(".")[2] == "seed"


def _number(value: str) -> float | None:
    """A finite number, or None where the text is something else."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _groups(key: str, by_value: dict[str, list[float]]) -> list[Group]:
    """Jobs by value: numbers at their place on the axis, seeds and names side by side in the given order."""
    by_value = {value: jobs for value, jobs in by_value.items() if jobs}
    numbers = [_number(value) for value in by_value]
    if _is_seed(key) or None in numbers:
        return [Group(value, place, jobs) for place, (value, jobs) in enumerate(by_value.items())]
    groups: dict[float, Group] = {}
    for number, (value, jobs) in zip(numbers, by_value.items(), strict=True):  # 0.1 and 1e-1 are the same number
        groups.setdefault(number, Group(value, number, [])).values.extend(jobs)
    return [groups[number] for number in sorted(groups)]


def _draw_panel(axes: Axes, key: str, groups: list[Group], width: float, metric: str) -> None:
    """Draw one key's jobs; `width` is that of the axes in pixels."""
    for group in groups:
        dots = {"marker": "o", "markersize": 5.5, "markeredgewidth": 0, "color": BLUE, "alpha": 0.5, "zorder": 3}
        places = [group.position] * len(group.values)
        axes.plot(places, group.values, linestyle="none", clip_on=False, **dots)  # a dot at 100% is drawn whole
    if _is_seed(key):
        _draw_band(axes, groups, width, metric)
    else:
        _draw_means(axes, groups)
    numeric = not _is_seed(key) and all(_number(group.label) is not None for group in groups)
    (_number_axis if numeric else _category_axis)(axes, groups, width)
    axes.set_xlabel(key, fontsize=fitting_size([key], 10, width), parse_math=False)


def _draw_band(axes: Axes, seeds: list[Group], width: float, metric: str) -> None:
    """Mean and standard deviation over seeds; a seed that several jobs share counts once, by their mean."""
    if len(seeds) < 2:
        return
    over_seeds = Group("", 0, [seed.mean for seed in seeds])
    low, high = over_seeds.mean - over_seeds.deviation, over_seeds.mean + over_seeds.deviation
    axes.axhspan(low, high, color=ORANGE, alpha=0.22, linewidth=0, zorder=0)
    text = f"band: mean ± sd over {len(seeds)} seeds, {spread(over_seeds.values, metric)}"
    axes.set_title(text, loc="left", fontsize=fitting_size([text], 9, width), color=GREY)


def _draw_means(axes: Axes, groups: list[Group]) -> None:
    """Mean and standard deviation where jobs share a value; joined where the values are numbers and most are shared."""
    shared = [group for group in groups if len(group.values) > 1]
    if not shared:
        return
    deviations = [group.deviation for group in shared]
    axes.errorbar(*_means(shared), deviations, marker="_", markersize=18, markeredgewidth=1.8, **BAR)
    if all(_number(group.label) is not None for group in groups) and len(shared) > len(groups) / 2:
        axes.plot(*_means(groups), color=ORANGE, linewidth=0.8, alpha=0.7)


def _means(groups: Sequence[Group]) -> tuple[list[float], list[float]]:
    return [group.position for group in groups], [group.mean for group in groups]


def _draw_sizes(axes: Axes, groups: Sequence[Group], metric: Monitor) -> None:
    """Mean and standard deviation of a metric over the number of parameters, labelled at the right margin."""
    deviations = [group.deviation if len(group.values) > 1 else math.nan for group in groups]  # of one seed: unknown
    axes.errorbar(*_means(groups), deviations, marker="o", markersize=5.5, clip_on=False, zorder=3, **BAR)
    if not _set_log_scale(axes, [group.position for group in groups], margin=0.08):
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda size, _: f"{size / 1e6:g} M" if size >= 1e6 else f"{size / 1e3:g} k")
    _metric_axis(axes, metric.name, {"": list(groups)})
    bottom, top = axes.get_ylim()
    by_height, room = sorted(groups, key=lambda group: group.mean), int(1 / LABEL_HEIGHT)
    by_height = by_height[:room] if metric.lower_is_better else by_height[-room:]
    heights = _spread_apart([(group.mean - bottom) / (top - bottom) for group in by_height], LABEL_HEIGHT)
    for group, height in zip(by_height, heights, strict=True):
        axes.annotate(
            _shortened(group.label),
            xy=(group.position, group.mean),
            xytext=(1.04, height),
            textcoords="axes fraction",
            verticalalignment="center",
            fontsize=TICK_SIZE,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "alpha": 0.6, "shrinkB": 4},
        )
    axes.set_xlabel("parameters", fontsize=10)
    axes.set_ylabel(_label(metric.name))


def _spread_apart(places: list[float], gap: float) -> list[float]:
    """Rising places moved as little as needed to be `gap` apart, and below 1."""
    moved = list(places)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], 1 - gap * (len(moved) - 1 - index))
    return moved


def _metric_axis(axes: Axes, name: str, groups_by_key: dict[str, list[Group]]) -> None:
    """The axis for a metric: it holds all that is drawn."""
    is_percentage = is_share(name, _all_values(groups_by_key))
    axes.set_ylim(_metric_range(groups_by_key, is_percentage))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if is_percentage:
        axes.yaxis.set_major_formatter(percent_tick)


def _set_log_scale(axes: Axes, values: Sequence[float], margin: float) -> bool:
    """Make the x axis logarithmic if the values span more than a factor of ten. `margin` is a share of their span."""
    low, high = min(values), max(values)
    if low <= 0 or high / low <= LEAST_RATIO_FOR_LOG:
        return False
    ratio = high / low
    axes.set_xscale("log")
    axes.set_xlim(low / ratio**margin, high * ratio**margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 300 else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    return True


def _number_axis(axes: Axes, groups: list[Group], width: float) -> None:
    """A linear or logarithmic axis, with a tick at each swept value where their labels have room."""
    values = np.array([group.position for group in groups])
    if _set_log_scale(axes, values.tolist(), margin=0.06):
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        margin = 0.06 * np.ptp(values) or abs(values[0]) / 2 or 1
        axes.set_xlim(values.min() - margin, values.max() + margin)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=bool((values == values.round()).all())))
    fractions = axes.transAxes.inverted().transform(axes.transData.transform([(value, 0) for value in values]))[:, 0]
    widths = np.array([text_width(group.label, TICK_SIZE) for group in groups])
    if (np.diff(fractions) * width > (widths[1:] + widths[:-1]) / 2 + TICK_SPACING).all():
        axes.set_xticks(values, [group.label for group in groups], fontsize=TICK_SIZE)
        axes.xaxis.set_minor_locator(NullLocator())


def _category_axis(axes: Axes, groups: list[Group], width: float) -> None:
    """Values side by side. Long names are slanted; where seeds are too many, only some are labelled."""
    labels = [_shortened(group.label) for group in groups]
    room = width / len(groups)
    widest = max(text_width(label, TICK_SIZE) for label in labels) + TICK_SPACING
    step = 1
    slant: dict[str, Any] = {}
    if widest > room:
        if all(_number(label) is not None for label in labels):
            step = math.ceil(widest / room)
        else:
            slant = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(0, len(labels), step), labels[::step], fontsize=TICK_SIZE, parse_math=False, **slant)
    axes.set_xlim(-0.6, len(labels) - 0.4)


def _shortened(label: str) -> str:
    """Long names lose their middle: their ends tell more of them apart."""
    if len(label) <= LONGEST_LABEL:
        return label
    half = (LONGEST_LABEL - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


def _all_values(groups_by_key: dict[str, list[Group]]) -> list[float]:
    return [value for groups in groups_by_key.values() for group in groups for value in group.values]


def _metric_range(groups_by_key: dict[str, list[Group]], is_percentage: bool) -> tuple[float, float]:
    """Ends of the metric's axis: they hold all that is drawn, and span at least what the constants above say."""
    drawn, deviations = _all_values(groups_by_key), []
    for key, groups in groups_by_key.items():
        averaged = [Group("", 0, [group.mean for group in groups])] if _is_seed(key) else groups
        deviations += [group.deviation for group in averaged if len(group.values) > 1]
        for group in averaged:
            drawn += [group.mean - group.deviation, group.mean + group.deviation]
    low, high = min(drawn), max(drawn)
    typical = float(np.median(deviations)) if deviations else 0.0
    wanted = max(LEAST_DEVIATIONS * typical, 1.12 * (high - low))
    if not is_percentage:
        span = max(LEAST_SPAN * max(abs(low), abs(high)), wanted) or 1.0
        return (low + high - span) / 2, (low + high + span) / 2
    span = min(1.0, max(LEAST_SPAN, wanted))
    bottom = min(max(0.0, (low + high - span) / 2), 1 - span)
    return bottom, bottom + span


def _caption(groups_by_key: dict[str, list[Group]]) -> str:
    jobs = max(sum(len(group.values) for group in groups) for groups in groups_by_key.values())
    bars = any(len(group.values) > 1 for key, groups in groups_by_key.items() if not _is_seed(key) for group in groups)
    return " ".join(
        [
            f"{jobs} job{'s' * (jobs != 1)}, one dot each.",
            *(["Bars: mean ± standard deviation of the jobs that share a value."] if bars else []),
            *(["Jobs also differ in the other panels' settings."] if len(groups_by_key) > 1 else []),
        ]
    )
