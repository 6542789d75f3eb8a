"""What several runs draw of the same test images, one row each: are the drawings crisp?

    python benchmarks/drawings.py RUN RUN ... --plot FILE      table and picture; each RUN may be NAME=RUN

The decoder draws the capsule of the true class. Sharpness is the mean length of the brightness gradient of a run's
drawings, divided by that of the images: 1 is as crisp as they are, and a blur is far below.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from report import print_headline
from torch import Tensor

from capsnet.data.batches import to_float
from capsnet.runs.opened import open_run
from capsnet.runs.shipped import find_run

BATCH = 250
COLUMNS = 20


def gradients(images: Tensor) -> Tensor:
    """Length of the brightness gradient at each pixel, [n, channels, height, width] -> [n, channels, rows, columns]."""
    down, across = images.diff(dim=2)[..., :-1], images.diff(dim=3)[:, :, :-1]
    return (down.square() + across.square()).sqrt()


@torch.no_grad()
def drawn(run: str) -> tuple[Tensor, Tensor, Tensor]:
    """The test images of a run, what its decoder draws of them, and their labels."""
    opened = open_run(find_run(run))
    if opened.test_images is None:
        sys.exit(f"{run}: {opened.why_no_test_images}")
    network, labels = opened.model.network.cpu(), opened.test_images.labels
    images = to_float(opened.test_images.images)
    drawings = [
        network(some, own).reconstruction for some, own in zip(images.split(BATCH), labels.split(BATCH), strict=True)
    ]
    return images, torch.cat(drawings), labels


def sheet(rows: dict[str, Tensor]) -> Figure:
    """Rows of images [n, channels, height, width], one under the other."""
    figure = Figure(figsize=(COLUMNS * 0.55 + 1.6, len(rows) * 0.6), layout="constrained")
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for cell, image in zip(line, images, strict=True):
            cell.imshow(np.moveaxis(image.numpy(), 0, -1), cmap="gray", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run, kmnist_7k, or NAME=RUN")
    parser.add_argument("--plot", type=Path, required=True, help="the picture")
    arguments = parser.parse_args()
    print_headline("cpu")
    print("| run | squared error | sharpness |\n| --- | --- | --- |")
    rows: dict[str, Tensor] = {}
    for given in arguments.runs:
        name, _, run = given.rpartition("=")
        images, drawings, labels = drawn(run)
        classes = labels.unique()
        own = torch.cat([(labels == label).nonzero()[: COLUMNS // len(classes), 0] for label in classes])
        rows.setdefault("images", images[own])
        rows[name or run] = drawings[own]
        sharpness = gradients(drawings).mean() / gradients(images).mean()
        print(f"| {name or run} | {(drawings - images).square().mean():.4f} | {sharpness:.2f} |", flush=True)
    arguments.plot.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows).savefig(arguments.plot, dpi=110)
    print(f"\nwritten to {arguments.plot}")


if __name__ == "__main__":
    main()
