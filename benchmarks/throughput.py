"""How long a training step takes, against the floor (no routing) and against explicit predictions.

    python benchmarks/throughput.py                                     on the CPU, fp32 and bf16, batch 128
    python benchmarks/throughput.py --device cuda --precision bf16 --batch-size 128 256 512 1024 2048 4096

A step is that of capsnet's LightningModule: forward, backward, Adam, metrics. The implementations take turns, round by
round, so that what disturbs the machine disturbs them alike; the table shows medians, and ratios to the floor.
"""

import argparse
import json
import platform
import statistics
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from baselines import BASELINES
from tqdm import tqdm

from capsnet import routing
from capsnet.config import Config, RoutingConfig
from capsnet.results import processor_name
from capsnet.training import CapsNetModule

CPU_RUNS = [
    ("uniform", "fp32"),
    ("ours", "fp32"),
    ("einsum", "fp32"),
    ("broadcast", "fp32"),
    ("uniform", "bf16"),
    ("ours", "bf16"),
]


def make_step(name: str, precision: str, batch_size: int, device: str, classes: int):
    """A function that trains for one step on random images."""
    torch.manual_seed(0)
    config = replace(Config(), routing=RoutingConfig(name="dynamic" if name == "ours" else name))
    module = CapsNetModule(config, (1, 28, 28), classes).to(device)
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


def measure(runs: list[tuple[str, str]], batch_size: int, device: str, classes: int, rounds: int) -> list[dict]:
    steps = {run: make_step(*run, batch_size, device, classes) for run in runs}
    times: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
    repeats = 10 if device == "cuda" else 1
    for step in steps.values():
        seconds(step, device, 2)
    for _ in tqdm(range(rounds), desc=f"batch {batch_size}", leave=False, disable=None):
        for run, step in steps.items():
            times[run].append(seconds(step, device, repeats))
    medians = {run: statistics.median(values) for run, values in times.items()}
    return [
        {
            "implementation": name,
            "precision": precision,
            "batch_size": batch_size,
            "ms_per_image": medians[name, precision] / batch_size * 1e3,
            "images_per_second": batch_size / medians[name, precision],
            "to_floor": medians[name, precision] / medians["uniform", precision],
        }
        for name, precision in runs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="only this one, all implementations")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/throughput.json"))
    arguments = parser.parse_args()
    routing.ROUTINGS.update(BASELINES)
    runs = CPU_RUNS
    if arguments.precision:
        runs = [(name, arguments.precision) for name in ("uniform", "ours", "einsum", "broadcast")]
    machine = torch.cuda.get_device_name() if arguments.device == "cuda" else processor_name()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}, {date.today()}\n")
    print(f"{'implementation':<16}{'precision':<11}{'batch':>6}{'ms/image':>10}{'images/s':>10}{'to floor':>10}")
    rows = []
    for batch_size in arguments.batch_size:
        for row in measure(runs, batch_size, arguments.device, arguments.classes, arguments.rounds):
            rows.append(row)
            print(
                f"{row['implementation']:<16}{row['precision']:<11}{batch_size:>6}{row['ms_per_image']:>10.3f}"
                f"{row['images_per_second']:>10,.0f}{row['to_floor']:>9.2f}x"
            )
    found = {
        "machine": machine,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": str(date.today()),
        "classes": arguments.classes,
        "rows": rows,
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nwritten to {arguments.json}")


if __name__ == "__main__":
    main()
