"""How long a training step takes, against the floor (no routing) and against explicit predictions.

    python benchmarks/throughput.py                                     on the CPU, fp32 and bf16, batch 128
    python benchmarks/throughput.py --device cuda --precision bf16 --batch-size 128 256 512 1024 2048 4096
    python benchmarks/throughput.py --compile uniform ours              these also through torch.compile

A step is that of capsnet's LightningModule: forward, backward, Adam, metrics. The implementations take turns in random
order, round by round, so that what disturbs the machine disturbs them alike. The table shows medians of the times, and
medians of the ratios within a round: to the floor at the same precision, and to explicit predictions by einsum in fp32,
which is the best public approach at its own precision. On a GPU, "of bound" is the share of the matrix rate in use.
"""

import argparse
import json
import platform
import random
import statistics
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch
from baselines import BASELINES
from tqdm import tqdm

from capsnet import routing
from capsnet.config import Config, RoutingConfig, TrainerConfig
from capsnet.module import CapsNetModule
from capsnet.results import processor_name

NAMES = ["uniform", "ours", "einsum", "broadcast"]
GFLOP_PER_IMAGE = 1.21  # of a training step at 28x28 and 10 classes, nearly all of it in the second convolution
MATRIX_RATE = {"NVIDIA H200": 790e12}  # bf16, dense, as reached by large matrix products


class Run(NamedTuple):
    """One implementation at one precision."""

    name: str
    precision: str
    compiled: bool = False


FLOOR, BEST_PUBLIC = "uniform", Run("einsum", "fp32")


def make_step(run: Run, batch_size: int, device: str, classes: int, channels_last: bool):
    """A function that trains for one step on random images."""
    torch.manual_seed(0)
    name, precision, compiled = run
    config = replace(
        Config(),
        routing=RoutingConfig(name="dynamic" if name == "ours" else name),
        trainer=TrainerConfig(compile=compiled),
    )
    module = CapsNetModule(config, (1, 28, 28), classes).to(device)
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    optimizer = module.configure_optimizers()["optimizer"]
    images = torch.rand(batch_size, 1, 28, 28, device=device)
    labels = torch.randint(0, classes, (batch_size,), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step((images, labels), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(step, device: str, repeats: int) -> float:
    """Wall time of a step, the device's work included."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def measure(runs: list[Run], batch_size: int, rounds: int, device: str, **settings) -> list[dict]:
    """The runs' median times, and their median ratios to the floor and to the best public approach."""
    steps = {run: make_step(run, batch_size, device, **settings) for run in runs}
    times: dict[Run, list[float]] = {run: [] for run in runs}
    repeats = 10 if device == "cuda" else 1
    for step in steps.values():
        seconds(step, device, 2)
    for _ in tqdm(range(rounds), desc=f"batch {batch_size}", leave=False, disable=None):
        for run in random.sample(runs, len(runs)):
            seconds(steps[run], device, 1)  # what the one before it left in caches and memory is not its business
            times[run].append(seconds(steps[run], device, repeats))

    def ratio(run: Run, baseline: Run) -> float | None:
        if baseline not in times:
            return None
        return statistics.median(own / other for own, other in zip(times[run], times[baseline], strict=True))

    return [
        {
            **run._asdict(),
            "batch_size": batch_size,
            "ms_per_image": statistics.median(times[run]) / batch_size * 1e3,
            "images_per_second": batch_size / statistics.median(times[run]),
            "to_floor": ratio(run, Run(FLOOR, run.precision)),
            "to_best_public": ratio(run, BEST_PUBLIC),
        }
        for run in runs
    ]


def line(row: dict, machine: str) -> str:
    name = row["name"] + (", compiled" if row["compiled"] else "")
    text = f"{name:<19}{row['precision']:<11}{row['batch_size']:>6}{row['ms_per_image']:>10.3f}"
    text += f"{row['images_per_second']:>10,.0f}"
    for key in ("to_floor", "to_best_public"):
        text += f"{'-':>11}" if row[key] is None else f"{row[key]:>10.2f}x"
    if machine in MATRIX_RATE:
        text += f"{row['images_per_second'] * GFLOP_PER_IMAGE * 1e9 / MATRIX_RATE[machine]:>10.1%}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--implementations", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--compile", nargs="*", choices=NAMES, default=[], metavar="NAME", help="measure compiled, too")
    parser.add_argument("--channels-last", action="store_true", help="weights of the convolutions in that layout")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/throughput.json"))
    arguments = parser.parse_args()
    routing.ROUTINGS.update(BASELINES)
    runs = [
        Run(name, precision, compiled)
        for precision in arguments.precision
        for name in arguments.implementations
        for compiled in (False, True)
        if not compiled or name in arguments.compile
    ]
    machine = torch.cuda.get_device_name() if arguments.device == "cuda" else processor_name()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, {date.today()}\n")
    head = f"{'implementation':<19}{'precision':<11}{'batch':>6}{'ms/image':>10}{'images/s':>10}{'to floor':>11}"
    print(head + f"{'to einsum':>11}" + (f"{'of bound':>10}" if machine in MATRIX_RATE else ""))
    rows = []
    for batch_size in arguments.batch_size:
        found = measure(
            runs,
            batch_size,
            arguments.rounds,
            arguments.device,
            classes=arguments.classes,
            channels_last=arguments.channels_last,
        )
        rows += found
        print("\n".join(line(row, machine) for row in found), flush=True)
    record = {
        "machine": machine,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": str(date.today()),
        "classes": arguments.classes,
        "channels_last": arguments.channels_last,
        "rows": rows,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"\nwritten to {arguments.json}")


if __name__ == "__main__":
    main()
