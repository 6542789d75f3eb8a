"""A training step of each routing of matrices in the one trunk: processor time and peak memory, ours and naive.

    python benchmarks/matrix_routings.py                    batches of 32
    python benchmarks/matrix_routings.py --batch-size 128 --rounds 5

Naive is the structure of the authors' PyTorch code: the votes of the whole batch are formed, and autograd keeps every
result for the backward pass. Ours forms the votes of a few images at a time, and again in the backward pass. Both
compute the same. Each figure comes from a process of its own. Memory is the peak while steps run, less what the process
held before; time is that of the processor, not of the clock, so that other programs disturb it less. "votes" is the
time of forming the votes alone, forward and backward, naively.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from implementations import IMAGE_SHAPE
from memory import MIB, forget_peak, held_bytes, peak_bytes
from report import print_headline, save_results

from capsnet.networks.conv_capsules import ConvCapsules
from capsnet.output import Targets
from capsnet.settings.parse import config_from_dict
from capsnet.settings.routing import OPTIONS

CLASSES = 10


def measure(routing: str, naive: bool, batch_size: int, rounds: int) -> dict[str, float]:
    """Peak MiB of a step in this process, and its median milliseconds an image."""
    if naive:
        ConvCapsules.images_at_once = lambda self, poses: len(poses)
    torch.manual_seed(0)
    config = config_from_dict({"model": {"name": "matrix_capsnet"}, "routing": {"name": routing}})
    network, loss = config.model.build(IMAGE_SHAPE, CLASSES, config.routing), config.loss.build()

    def step(count: int) -> float:
        images, labels = torch.rand(count, *IMAGE_SHAPE), torch.arange(count) % CLASSES
        network.zero_grad()
        began = time.process_time()
        loss(network(images, labels), Targets(labels, images))["loss"].backward()
        return time.process_time() - began

    step(2)  # libraries allocate their own buffers on first use
    before = held_bytes("cpu")
    forget_peak("cpu")
    times = [step(batch_size) for _ in range(rounds)]
    peak = peak_bytes("cpu") - before
    return {"mib": peak / MIB, "ms_per_image": 1e3 * statistics.median(times) / batch_size}


def measure_votes(batch_size: int, rounds: int) -> float:
    """Median milliseconds an image of forming all votes of the three layers, forward and backward."""
    config = config_from_dict({"model": {"name": "matrix_capsnet"}})
    network, times = config.model.build(IMAGE_SHAPE, CLASSES, config.routing), []
    poses = [
        torch.randn(batch_size, *layer.windows.child.shape, layer.in_types, 16).flatten(2, 3).requires_grad_()
        for layer in network.layers
    ]
    for _ in range(rounds):
        began = time.process_time()
        for layer, children in zip(network.layers, poses, strict=True):
            layer.votes(children).sum().backward()
        times.append(time.process_time() - began)
    return 1e3 * statistics.median(times) / batch_size


def measure_apart(routing: str, naive: bool, batch_size: int, rounds: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", routing, "--batch-size", str(batch_size), "--rounds", str(rounds)]
    done = subprocess.run([*command, *(["--naive"] if naive else [])], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/matrix_routings.json"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--naive", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    sizes = arguments.batch_size, arguments.rounds
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.naive, *sizes)))
        return
    print_headline("cpu")
    print(f"votes alone: {measure_votes(*sizes):.1f} ms an image\n")
    print(f"{'routing':<20}{'ms/image':>10}{'peak MiB':>12}", flush=True)
    rows = []
    for routing, option in OPTIONS.items():
        if hasattr(option, "build_matrices"):
            found = {form: measure_apart(routing, form == "naive", *sizes) for form in ("ours", "naive")}
            for form, measured in found.items():
                rows.append({"routing": routing, "form": form, **measured})
                print(f"{routing:<12}{form:<8}{measured['ms_per_image']:>10.1f}{measured['mib']:>12,.0f}", flush=True)
    save_results(arguments.json, "cpu", rows, batch_size=arguments.batch_size)


if __name__ == "__main__":
    main()
