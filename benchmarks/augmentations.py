"""What augmentation costs next to a training step, and a picture of what it does.

    python benchmarks/augmentations.py                                    the presets next to a step of CapsNet
    python benchmarks/augmentations.py --picture docs/augmentations.png   draw a character under each kind

In each round step and presets take turns; shares are medians within a round.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from implementations import config_with, training_step
from report import print_headline, save_results
from timing import median_ratio, times_in_turns

from capsnet import compose
from capsnet.augment import Augmentation
from capsnet.augment.mixup import mix
from capsnet.data.batches import TrainingBatches, epoch_generator, to_float
from capsnet.data.kmnist_7k import KMNIST7k
from capsnet.data.source import LabelledImages
from capsnet.reports.figures.style import heading, new_sheet, place, save, text_width
from capsnet.tasks.classify import Classify
from capsnet.text import columns

PRESETS = ("shift", "cutout", "shift_cutout", "affine", "elastic", "mixup", "strong")
STEP = "a step of CapsNet"
KINDS = (
    *("augment.rotation=10", "augment.scaling=0.15", "augment.shear=10", "augment.translation=2", "augment.elastic=1"),
    *("augment.stroke=0.5", "augment.max_shift=2", "augment.cutout_size=8", "augment.erasing=0.5", "augment.mixup=0.4"),
)
CHARACTER = 208  # the training image in the picture: a clear き
DRAWN, SCALE = 10, 3  # images in a row, pixels of the picture for one of an image


def augmentation_of(override: str) -> Augmentation:
    """What an override such as augment=strong or augment.rotation=10 sets."""
    return compose(override).augment.build()


def augmenting(augmentation: Augmentation, batch_size: int, device: str) -> Callable[[], None]:
    """A function that makes a batch of 28x28 images and augments it."""
    images = torch.randint(256, (batch_size, 1, 28, 28), dtype=torch.uint8)
    split = LabelledImages(images, torch.arange(batch_size) % 10)
    batches = TrainingBatches(
        split,
        batch_size,
        device,
        augmentation=augmentation,
        classes=10,
        composition=Classify(),
        seed=0,
        epoch=lambda: 0,
    )
    return lambda: next(iter(batches))


def draw_picture(path: Path) -> None:
    """A character under each kind of augmentation, then under presets that combine several; ten draws in a row."""
    source = KMNIST7k()
    source.prepare()
    images = to_float(source.train().images)
    rows = {"unchanged": Augmentation()}
    overrides = (*KINDS, "augment=shift_cutout", "augment=affine", "augment=strong")
    rows |= {override: augmentation_of(override) for override in overrides}
    side = 28 * SCALE
    label_width = max(round(text_width(name, 10)) for name in rows) + 20
    width = label_width + DRAWN * (side + SCALE)
    figure, axes, corners = new_sheet(len(rows), 1, width, side + SCALE)
    for (name, augmentation), (left, top) in zip(rows.items(), corners, strict=True):
        axes.text(left, top + side / 2, name, fontsize=10, verticalalignment="center", parse_math=False)
        draws = augmentation.draw(DRAWN, 28, 28, partial(epoch_generator, 0, 0))
        drawn_images = augmentation(images[CHARACTER : CHARACTER + 1].expand(DRAWN, -1, -1, -1), draws)
        if augmentation.mixup is not None:
            drawn_images = mix(drawn_images, augmentation(images[:DRAWN], draws), draws["mixup_share"])
        for column, drawn in enumerate(drawn_images):
            place(axes, drawn[0].numpy(), left + label_width + column * (side + SCALE), top, SCALE)
    about = "A character of KMNIST-7k under each kind, then under presets that combine several. Ten draws each."
    heading(figure, "Augmentation", about)
    save(figure, path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, metavar="FILE")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/augmentations.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.picture:
        draw_picture(arguments.picture)
        return
    print_headline(arguments.device)
    steps = {STEP: training_step(config_with("ours"), arguments.batch_size, arguments.device, 10)}
    for name in PRESETS:
        steps[name] = augmenting(augmentation_of(f"augment={name}"), arguments.batch_size, arguments.device)
    times = times_in_turns(steps, arguments.rounds, arguments.device)
    rows = [
        {
            "name": name,
            "ms_per_image": statistics.median(measured) / arguments.batch_size * 1e3,
            "share_of_step": median_ratio(times, name, STEP),
        }
        for name, measured in times.items()
    ]
    cells = [[row["name"], f"{row['ms_per_image']:.3f}", f"{row['share_of_step']:.2%}"] for row in rows]
    print(columns([["", "ms/image", "share of the step"], *cells]))
    save_results(arguments.json, arguments.device, rows, batch_size=arguments.batch_size)


if __name__ == "__main__":
    main()
