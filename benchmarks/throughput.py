"""How long a training step takes, ours against others'.

"floor" is CapsNet with the direct convolution and without routing; "direct" adds our routing. "ours" is the default: it
convolves through the Fourier domain where that is faster. "einsum", "matmul" and "priors" form the predictions û, as
public implementations do: the last two have the structure of XifengGuo/CapsNet-Pytorch and of gram-ai/capsule-networks,
but for the latter's eight convolutions in place of one. "efficient" is Efficient-CapsNet.

    python benchmarks/throughput.py                                     on the CPU, batches of 128
    python benchmarks/throughput.py --device cuda --precision bf16 --batch-size 128 256 512 1024 2048 4096
    python benchmarks/throughput.py --compile floor ours                measure these two compiled as well
    python benchmarks/throughput.py --inference                         classify only

A step is what Lightning runs: forward, backward, Adam and metrics. In each round the implementations take turns in
random order, so a disturbance of the machine hits them all alike. The table shows median times, and medians of the
ratios within a round. "to floor" compares with the floor at the same precision. "to einsum" compares with explicit
predictions by einsum in fp32, the best public approach at its own precision. "of bound" is the share of the GPU's
matrix rate that is in use; you see it on GPUs whose rate is known.
"""

import argparse
import contextlib
import random
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from implementations import IMPLEMENTATIONS, config_with, inference_step, training_step
from report import machine_name, print_headline, save_results
from timing import median_ratio, seconds
from tqdm import tqdm

from capsnet.training.allocation import freed_memory_kept
from capsnet.training.choices import has_bfloat16

GFLOP_PER_IMAGE = 1.21  # of a training step at 28x28 and 10 classes, nearly all of it in the second convolution
MATRIX_RATE = {"NVIDIA H200": 790e12}  # bf16, dense, as large matrix products reach it
GPU_STEPS = 10  # timed together, since one is too short


class Variant(NamedTuple):
    """What is timed: an implementation at a precision."""

    name: str
    precision: str
    compiled: bool = False


FLOOR, BEST_PUBLIC = "floor", Variant("einsum", "fp32")


def precisions_of(device: str) -> list[str]:
    """fp32, and bf16 if the device computes in it."""
    return ["fp32", "bf16"] if device == "cuda" or has_bfloat16() else ["fp32"]


def measure(
    variants: list[Variant], batch_size: int, rounds: int, device: str, inference: bool, **settings: Any
) -> list[dict]:
    """A row for each variant: its median times, and its median ratios to the floor and the best public approach.

    Args:
        variants: what to time.
        batch_size: images in a step.
        rounds: how often each variant is timed.
        device: "cpu" or "cuda".
        inference: classify only.
        settings: further arguments of `training_step` or `inference_step`.
    """
    steps = {}
    for variant in variants:
        config = config_with(variant.name, variant.compiled)
        if inference:
            steps[variant] = inference_step(config, batch_size, device, **settings)
        else:
            steps[variant] = training_step(config, batch_size, device, precision=variant.precision, **settings)
    times: dict[Variant, list[float]] = {variant: [] for variant in variants}
    for step in steps.values():
        seconds(step, device, 2)
    for _ in tqdm(range(rounds), desc=f"batch {batch_size}", leave=False, disable=None):
        for variant in random.sample(variants, len(variants)):
            seconds(steps[variant], device)  # not timed: until then, caches and memory hold the previous variant's data
            times[variant].append(seconds(steps[variant], device, GPU_STEPS if device == "cuda" else 1))
    return [
        {
            **variant._asdict(),
            "batch_size": batch_size,
            "ms_per_image": statistics.median(times[variant]) / batch_size * 1e3,
            "images_per_second": batch_size / statistics.median(times[variant]),
            **{
                key: median_ratio(times, variant, baseline) if baseline in times else None
                for key, baseline in (("to_floor", Variant(FLOOR, variant.precision)), ("to_best_public", BEST_PUBLIC))
            },
        }
        for variant in variants
    ]


def print_head(machine: str) -> None:
    text = f"{'implementation':<19}{'precision':<11}{'batch':>6}{'ms/image':>10}{'images/s':>10}"
    text += f"{'to floor':>11}{'to einsum':>11}"
    print(text + (f"{'of bound':>10}" if machine in MATRIX_RATE else ""))


def print_row(row: dict, machine: str) -> None:
    name = row["name"] + (", compiled" if row["compiled"] else "")
    text = f"{name:<19}{row['precision']:<11}{row['batch_size']:>6}{row['ms_per_image']:>10.3f}"
    text += f"{row['images_per_second']:>10,.0f}"
    for key in ("to_floor", "to_best_public"):
        text += f"{'-':>11}" if row[key] is None else f"{row[key]:>10.2f}x"
    if machine in MATRIX_RATE:
        text += f"{row['images_per_second'] * GFLOP_PER_IMAGE * 1e9 / MATRIX_RATE[machine]:>10.1%}"
    print(text, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["fp32", "bf16"],
        help="default: fp32, and bf16 if the device computes in it",
    )
    parser.add_argument("--implementations", nargs="+", choices=IMPLEMENTATIONS, default=list(IMPLEMENTATIONS))
    parser.add_argument(
        "--compile",
        nargs="*",
        choices=IMPLEMENTATIONS,
        default=[],
        metavar="NAME",
        help="measure these compiled as well",
    )
    parser.add_argument("--inference", action="store_true", help="classify, in fp32, rather than train")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/throughput.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    variants = [
        Variant(name, precision, compiled)
        for precision in (["fp32"] if arguments.inference else arguments.precision or precisions_of(arguments.device))
        for name in arguments.implementations
        for compiled in (False, True)
        if not compiled or name in arguments.compile
    ]
    machine = machine_name(arguments.device)
    print_headline(arguments.device)
    print_head(machine)
    settings = {"classes": arguments.classes}
    rows = []
    with freed_memory_kept() if arguments.device == "cpu" else contextlib.nullcontext():
        for batch_size in arguments.batch_size:
            found = measure(variants, batch_size, arguments.rounds, arguments.device, arguments.inference, **settings)
            for row in found:
                print_row(row, machine)
            rows += found
    save_results(arguments.json, arguments.device, rows, **settings)


if __name__ == "__main__":
    main()
