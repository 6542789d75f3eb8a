"""Pictures of a run: training curves, reconstructions, perturbed capsules, confusion matrix."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from torch import Tensor

from .model import CapsNet
from .results import whole_file

TRAIN_COLOUR, VAL_COLOUR, WRONG_COLOUR = "#4c72b0", "#dd8452", "#c8102e"
TWEAKS = torch.arange(-5, 6) * 0.05  # section 5.1 of the paper: [-0.25, 0.25] in steps of 0.05
GAP = 1  # grey pixels between the pictures of a mosaic
MOST_PANELS = 10
MOST_ANNOTATED = 20
MOST_GROUPS = 8


def curves(metrics: dict[str, list[float]]) -> Figure:
    """Loss and accuracy over the epochs, training and validation.

    Args:
        metrics: columns of metrics.csv, one value per epoch.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    epochs = np.asarray(metrics["epoch"])
    for axes, name in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
        for split, label, colour in (("train", "training", TRAIN_COLOUR), ("val", "validation", VAL_COLOUR)):
            values = np.asarray(metrics.get(f"{split}/{name}", []))
            known = ~np.isnan(values)
            if known.any():
                axes.plot(epochs[known], values[known], label=label, color=colour, marker="o", markersize=3)
        axes.set(xlabel="epoch", ylabel=name, title=name.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    val_accuracy = np.asarray(metrics.get("val/accuracy", []))
    if len(val_accuracy) and not np.isnan(val_accuracy).all():
        best = int(np.nanargmax(val_accuracy))
        accuracy_axes.axvline(epochs[best], color="grey", linestyle=":", label=f"best: epoch {epochs[best]:.0f}")
    loss_axes.set_yscale("log")
    loss_axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss_axes.yaxis.set_major_formatter("{x:g}")
    loss_axes.yaxis.set_minor_formatter(NullFormatter())
    accuracy_axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (loss_axes, accuracy_axes):
        axes.legend()
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, whole or not at all."""
    with whole_file(path) as draft:
        figure.savefig(draft, format="png", dpi=150)


def sweep_panels(accuracies: dict[str, dict[str, list[float]]]) -> Figure:
    """One panel per swept key: each job's validation accuracy at each value, and where several share one, their mean.

    Args:
        accuracies: by key, by value in the order of the axis, one number per job.
    """
    columns = min(3, len(accuracies))
    rows = -(-len(accuracies) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axes in grid[len(accuracies) :]:
        axes.remove()
    for axes, (key, by_value) in zip(grid, accuracies.items(), strict=False):
        if len(by_value) > MOST_GROUPS and all(_is_number(value) for value in by_value):
            _scatter(axes, {float(value): numbers for value, numbers in by_value.items()})
        else:
            _groups(axes, by_value)
        axes.set(xlabel=key.replace("$", r"\$"))
        axes.yaxis.set_major_formatter(lambda share, _: f"{share * 100:g}%")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel("best validation accuracy")
    return figure


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _scatter(axes: Axes, by_value: dict[float, list[float]]) -> None:
    """Each job at its value: for a search, in which hardly two share one."""
    for value, accuracies in by_value.items():
        axes.plot([value] * len(accuracies), accuracies, "o", color=TRAIN_COLOUR, alpha=0.6, markersize=5)
    if min(by_value) > 0 and max(by_value) / min(by_value) > 10:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


def _groups(axes: Axes, by_value: dict[str, list[float]]) -> None:
    """Values side by side, each job a dot, with mean and standard deviation where jobs share a value."""
    for position, accuracies in enumerate(by_value.values()):
        axes.plot([position] * len(accuracies), accuracies, "o", color=TRAIN_COLOUR, alpha=0.45, markersize=5)
    if any(len(accuracies) > 1 for accuracies in by_value.values()):
        means = [np.mean(accuracies) for accuracies in by_value.values()]
        spreads = [np.std(accuracies, ddof=1) if len(accuracies) > 1 else 0 for accuracies in by_value.values()]
        axes.errorbar(
            range(len(means)), means, spreads, color=VAL_COLOUR, marker="_", markersize=14, capsize=4, label="mean ± sd"
        )
        axes.legend(loc="best", fontsize="small")
    shown = [(value if len(value) <= 12 else value[:11] + "…").replace("$", r"\$") for value in by_value]
    axes.set_xticks(range(len(shown)), shown, rotation=45 if sum(map(len, shown)) > 30 else 0)
    axes.set_xlim(-0.5, len(shown) - 0.5)


def reconstructions(
    images: Tensor, drawn: Tensor, labels: Tensor, predictions: Tensor, class_names: Sequence[str], title: str
) -> Figure:
    """Each image above what the decoder draws from its longest capsule; wrongly classified ones are framed.

    Args:
        images: [n, channels, height, width] in [0, 1].
        drawn: the same shape.
        labels: right classes, [n].
        predictions: classes that were seen, [n].
        class_names: names of the classes.
        title: what is shown.
    """
    columns = min(12, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * 0.95, rows * 2.15 + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, image, drawing, label, prediction in zip(grid.flat, images, drawn, labels, predictions, strict=False):
        _show(axes, torch.cat([image.cpu(), drawing.cpu()], dim=1))
        axes.axhline(image.shape[1] - 0.5, color="white", linewidth=2)
        if label == prediction:
            axes.set_title(class_names[label], fontsize=9)
        else:
            axes.set_title(f"{class_names[label]} as {class_names[prediction]}", fontsize=8, color=WRONG_COLOUR)
            axes.spines[:].set(visible=True, edgecolor=WRONG_COLOUR, linewidth=3)
    wrong = int((labels != predictions).sum())
    figure.suptitle(f"{title}: input above, reconstruction below ({wrong} of {len(images)} misclassified, framed)")
    return figure


@torch.no_grad()
def perturbations(network: CapsNet, images: Tensor, labels: Tensor, class_names: Sequence[str], title: str) -> Figure:
    """What each dimension of a class capsule means: one image per class, each dimension tweaked by itself.

    As figure 4 of the paper: dimensions downwards, tweaks from -0.25 to 0.25 in steps of 0.05 across.

    Args:
        network: in evaluation mode.
        images: one per panel, [panels, channels, height, width] in [0, 1].
        labels: their classes, [panels]; the capsule of this class is tweaked.
        class_names: names of the classes.
        title: what is shown.
    """
    images, labels = images[:MOST_PANELS], labels[:MOST_PANELS]
    capsules = network.encode(images)
    class_dim = capsules.shape[-1]
    columns = min(5, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.9 * columns, (0.21 * class_dim + 0.5) * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    steps = torch.eye(class_dim, device=images.device)[:, None, :] * TWEAKS.to(images.device)[None, :, None]
    for axes, capsule, label in zip(grid.flat, capsules, labels, strict=False):
        tweaked = capsule.expand(class_dim * len(TWEAKS), -1, -1).clone()
        tweaked[:, label] += steps.flatten(0, 1)
        drawn = network.decode(tweaked, label.expand(len(tweaked)))
        _show(axes, _mosaic(drawn, class_dim, len(TWEAKS)))
        axes.set_axis_on()
        height, width = (side + GAP for side in drawn.shape[2:])
        ticks = range(0, len(TWEAKS), 5)
        amounts = [f"{TWEAKS[tick]:+.2f}" if TWEAKS[tick] else "0" for tick in ticks]
        axes.set_xticks([(tick + 0.5) * width for tick in ticks], amounts, fontsize=7)
        axes.set_yticks(
            [(dim + 0.5) * height for dim in range(class_dim)], [str(dim + 1) for dim in range(class_dim)], fontsize=6
        )
        axes.tick_params(length=0)
        axes.set_title(class_names[int(label)], fontsize=11)
    figure.supxlabel("added to the dimension", fontsize=10)
    figure.supylabel("dimension of the class capsule", fontsize=10)
    figure.suptitle(f"{title}: each dimension of the right class's capsule, tweaked")
    return figure


def confusion(counts: Tensor, class_names: Sequence[str], title: str) -> Figure:
    """Which classes are taken for which.

    Args:
        counts: images by right class (rows) and seen class (columns), [classes, classes].
        class_names: names of the classes.
        title: what is shown.
    """
    classes = len(class_names)
    side = max(5.0, 0.55 * classes + 1.5)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    # The root spreads the few mistakes over the colours; on a linear scale every one of them looks like none.
    image = axes.imshow(share.sqrt().numpy(), cmap="Blues", vmin=0, vmax=1)
    if classes <= MOST_ANNOTATED:
        for row in range(classes):
            for column in range(classes):
                if counts[row, column]:
                    ink = "white" if share[row, column] > 0.4 else "black"
                    axes.text(
                        column, row, f"{int(counts[row, column])}", ha="center", va="center", color=ink, fontsize=9
                    )
    rotation = 0 if max(map(len, class_names)) <= 6 else 45
    axes.set_xticks(range(classes), class_names, rotation=rotation, ha="right" if rotation else "center")
    axes.set_yticks(range(classes), class_names)
    accuracy = float(counts.diagonal().sum() / counts.sum())
    axes.set(xlabel="predicted class", ylabel="right class", title=f"{title}: {accuracy:.2%} right")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the right class's images")
    bar.set_ticks(np.sqrt([0, 0.01, 0.05, 0.2, 0.5, 1]), labels=["0", "1%", "5%", "20%", "50%", "100%"])
    return figure


def display_names(names: Sequence[str], characters: Sequence[str] | None) -> list[str]:
    """Class names for a figure: with the characters themselves where a font on this machine has them all."""
    if characters is None:
        return list(names)
    family = _family_with("".join(characters))
    if family is None:
        return list(names)
    from matplotlib import rcParams

    if family not in rcParams["font.family"]:
        rcParams["font.family"] = [*rcParams["font.family"], family]  # a fallback: Latin text keeps its font
    return [f"{character} {name}" for name, character in zip(names, characters, strict=True)]


@cache
def _family_with(characters: str) -> str | None:
    for entry in font_manager.fontManager.ttflist:
        if entry.name.startswith("Last Resort"):  # has a placeholder for every character there is
            continue
        try:
            font = FT2Font(entry.fname)
        except (OSError, RuntimeError):
            continue
        if all(font.get_char_index(ord(character)) for character in characters):
            return entry.name
    return None


def _show(axes: Axes, image: Tensor) -> None:
    """Draw [1 or 3, height, width] in [0, 1]."""
    pixels = image.float().cpu().clamp(0, 1)
    picture = pixels[0] if len(pixels) == 1 else pixels.movedim(0, -1)
    axes.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)


def _mosaic(images: Tensor, rows: int, columns: int) -> Tensor:
    """[rows * columns, channels, height, width] -> [channels, rows * (height + GAP), columns * (width + GAP)]."""
    tiles = torch.nn.functional.pad(images, (0, GAP, 0, GAP), value=0.5).unflatten(0, (rows, columns))
    return tiles.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
