"""Is the choice that a run makes by itself the fastest one? Times all candidates, and compares.

    python benchmarks/choices.py                                      all networks, batches of 32 and 128
    python benchmarks/choices.py --networks capsnet --batch-size 64 --rounds 11

A candidate is a precision, direct convolutions or the Fourier domain, and a memory layout. In each round, whole
training steps of all candidates take turns in random order; the table has the median times in ms an image. The choice
is made anew, as in a first run: "took" is how long that needs. "loses" is by how much the chosen one takes longer than
the best one. Candidates within a tenth of each other count as equal, and the simpler one is chosen; see
`capsnet.training.choices`.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from implementations import IMAGE_SHAPE
from report import print_headline, save_results
from timing import times_in_turns

from capsnet import compose
from capsnet.settings.config import OPTIONS
from capsnet.text import columns
from capsnet.training import choices
from capsnet.training.allocation import freed_memory_kept
from capsnet.training.module import CapsNetModule

CLASSES = 10


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(OPTIONS["model"]), default=list(OPTIONS["model"]))
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/choices.json"))
    return parser.parse_args()


def measure(network: str, batch_size: int, rounds: int) -> dict[str, Any]:
    """A row: what was chosen, and what every candidate takes."""
    config = compose(f"model={network}", "trainer=cpu")
    torch.manual_seed(0)
    module = CapsNetModule(config=config, image_shape=IMAGE_SHAPE, num_classes=CLASSES)
    steps = choices.Steps(module, IMAGE_SHAPE, CLASSES, batch_size)
    candidates = choices.candidates(config.trainer, bool(steps.worth_fourier))
    began = time.perf_counter()
    chosen = choices.simplest_of_the_fastest(candidates, steps.ms_per_image(candidates))
    took = time.perf_counter() - began

    def step(choice: choices.Choice) -> None:
        steps.compute_as(choice)
        steps.seconds_of_one(choice, batch_size)

    with freed_memory_kept():
        times = times_in_turns({choice: lambda choice=choice: step(choice) for choice in candidates}, rounds, "cpu")
    found = {str(choice): 1e3 * statistics.median(measured) / batch_size for choice, measured in times.items()}
    return {
        "network": network,
        "batch_size": batch_size,
        "seconds": took,
        "chosen": str(chosen),
        "loses": found[str(chosen)] / min(found.values()) - 1,
        "ms_per_image": found,
    }


def main() -> None:
    arguments = parse_arguments()
    print_headline("cpu")
    rows = []
    for network in arguments.networks:
        for batch_size in arguments.batch_size:
            rows.append(row := measure(network, batch_size, arguments.rounds))
            print(f"{network}, batch {batch_size}: took {row['seconds']:.1f} s, loses {row['loses']:.0%}")
            cells = [
                [f"{ms:.2f}", choice + ("   <- chosen" if choice == row["chosen"] else "")]
                for choice, ms in row["ms_per_image"].items()
            ]
            print(columns(cells), flush=True)
    save_results(arguments.json, "cpu", rows)


if __name__ == "__main__":
    main()
