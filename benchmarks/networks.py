"""What a training step of each network costs next to CapsNet's, in the contiguous memory layout and in channels-last.

    python benchmarks/networks.py                       all networks, fp32, batches of 128
    python benchmarks/networks.py --networks capsnet efficient_capsnet --rounds 21

A step is what Lightning runs: forward, backward, Adam and metrics, with the loss and routing that suit the network. In
each round all take turns in random order; ratios are medians within a round. "60,000 images" is the time of all steps
in an epoch of MNIST or KMNIST; validation comes on top, and so does making the batches.
"""

import argparse
import statistics
from pathlib import Path

import torch
from implementations import EPOCH, training_step
from report import print_headline, save_results
from timing import median_ratio, times_in_turns

from capsnet import compose
from capsnet.settings.config import OPTIONS
from capsnet.text import columns, duration

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
BASELINE = ("capsnet", "contiguous")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--networks", nargs="+", choices=list(OPTIONS["model"]), default=list(OPTIONS["model"]))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/networks.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print_headline(arguments.device)
    batch_size, device, precision = arguments.batch_size, arguments.device, arguments.precision
    variants = [BASELINE] + [
        (network, layout) for network in arguments.networks for layout in LAYOUTS if (network, layout) != BASELINE
    ]
    steps = {
        (network, layout): training_step(
            compose(f"model={network}"), batch_size, device, 10, precision, LAYOUTS[layout]
        )
        for network, layout in variants
    }
    times = times_in_turns(steps, arguments.rounds, device)
    rows = [
        {
            "network": network,
            "layout": layout,
            "ms_per_image": statistics.median(measured) / batch_size * 1e3,
            "to_capsnet": median_ratio(times, (network, layout), BASELINE),
            "to_contiguous": median_ratio(times, (network, layout), (network, "contiguous")),
        }
        for (network, layout), measured in times.items()
    ]
    head = ["network", "layout", "ms/image", "to capsnet", "to its contiguous layout", "60,000 images"]
    ratios = ("ms_per_image", "to_capsnet", "to_contiguous")
    cells = [
        [
            row["network"],
            row["layout"],
            *(f"{row[key]:.2f}" for key in ratios),
            duration(row["ms_per_image"] / 1e3 * EPOCH),
        ]
        for row in rows
    ]
    print(columns([head, *cells]))
    save_results(arguments.json, device, rows, batch_size=batch_size, precision=precision)


if __name__ == "__main__":
    main()
