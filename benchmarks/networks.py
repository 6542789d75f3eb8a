"""What a training step of each network costs next to CapsNet's, in the contiguous memory layout and in channels-last.

    python benchmarks/networks.py                       all networks, fp32, batches of 128
    python benchmarks/networks.py --networks capsnet efficient_capsnet --rounds 21

A step is what Lightning runs: forward, backward, Adam and metrics, with the loss and routing that suit the network. In
each round all take turns in random order; ratios are medians within a round.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from implementations import training_step
from report import print_headline, save_results
from timing import median_ratio, times_in_turns

from capsnet.settings.config import OPTIONS, Config
from capsnet.settings.parse import config_from_dict
from capsnet.text import columns

BASELINE = ("capsnet", False)


def config_of(network: str) -> Config:
    """The network with attention or dynamic routing and margin loss, or with cross-entropy if it has no capsules."""
    options: dict[str, Any] = {"model": {"name": network}}
    if not OPTIONS["model"][network].capsules:
        options |= {"routing": {"name": "none"}, "loss": {"name": "cross_entropy"}}
    elif network == "efficient_capsnet":
        options["routing"] = {"name": "attention"}
    return config_from_dict(options)


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
    variants = [BASELINE] + [
        (network, channels_last)
        for network in arguments.networks
        for channels_last in (False, True)
        if (network, channels_last) != BASELINE
    ]
    steps = {
        variant: training_step(
            config_of(variant[0]), arguments.batch_size, arguments.device, 10, arguments.precision, variant[1]
        )
        for variant in variants
    }
    times = times_in_turns(steps, arguments.rounds, arguments.device)
    rows = [
        {
            "network": network,
            "channels_last": channels_last,
            "ms_per_image": statistics.median(measured) / arguments.batch_size * 1e3,
            "to_capsnet": median_ratio(times, (network, channels_last), BASELINE),
            "to_contiguous": median_ratio(times, (network, channels_last), (network, False)),
        }
        for (network, channels_last), measured in times.items()
    ]
    head = ["network", "layout", "ms/image", "to capsnet", "to its contiguous layout"]
    cells = [
        [
            row["network"],
            "channels-last" if row["channels_last"] else "contiguous",
            f"{row['ms_per_image']:.2f}",
            f"{row['to_capsnet']:.2f}",
            f"{row['to_contiguous']:.2f}",
        ]
        for row in rows
    ]
    print(columns([head, *cells]))
    settings = {"batch_size": arguments.batch_size, "precision": arguments.precision}
    save_results(arguments.json, arguments.device, rows, **settings)


if __name__ == "__main__":
    main()
