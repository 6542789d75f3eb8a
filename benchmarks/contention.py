"""What trainings cost each other on one machine, with threads that spin while they wait, and with threads that do not.

    python benchmarks/contention.py                                       all networks, about 20 minutes
    python benchmarks/contention.py --networks capsnet --spin-counts 0 100 10000

A training is a process of its own that trains a network on random images, one step after the other. "alone" is the
rate of one. For two and three at once, the table says how many times as long each of them takes; 2 and 3 are fair
shares. The last column is one training beside a program that keeps a core busy. "spinning" is what PyTorch does by
itself: threads that wait keep their core. "waiting" is what the project sets, see `capsnet.threads`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from report import print_headline, save_results

from capsnet import compose
from capsnet.text import columns
from capsnet.threads import SPIN_COUNT, WAITING

NETWORKS = {
    "capsnet": ("model=capsnet", "trainer.fourier=on"),
    "capsnet, direct": ("model=capsnet", "trainer.fourier=off"),
    "small_capsnet": ("model=small_capsnet",),
    "efficient_capsnet": ("model=efficient_capsnet",),
    "res_capsnet": ("model=res_capsnet",),
    "small_cnn": ("model=small_cnn",),
    "resnet18": ("model=resnet18",),
}
BUSY = "while True: pass"
HEAD = ["network", "threads", "alone, images/s", "to spinning", "two at once", "three", "beside a busy program"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spin-counts", type=int, nargs="*", default=[], help="values of GOMP_SPINCOUNT to try, too")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/contention.json"))
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


def train_when_told(overrides: list[str], batch_size: int) -> None:
    """A training: steps for as many seconds as each line of the input says, and prints images a second."""
    from implementations import training_step

    step = training_step(compose(*overrides), batch_size, "cpu", classes=10)
    for _ in range(2):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        began, steps = time.perf_counter(), 0
        while time.perf_counter() < began + float(line):
            step()
            steps += 1
        print(steps * batch_size / (time.perf_counter() - began), flush=True)


class Training(subprocess.Popen):
    """A process that trains when it is told to."""

    def __init__(self, overrides: tuple[str, ...], batch_size: int, environment: dict[str, str]):
        program = [sys.executable, __file__, "--batch-size", str(batch_size), "--worker", *overrides]
        own = {name: value for name, value in os.environ.items() if name not in WAITING}
        super().__init__(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own | environment)

    def begin(self, seconds: float) -> None:
        self.stdin.write(f"{seconds}\n")
        self.stdin.flush()

    def images_per_second(self) -> float:
        return float(self.stdout.readline())


CASES = {"alone": 1, "two": 2, "three": 3, "busy": 1}
"""How many trainings run at once."""


def measure(name: str, environments: dict[str, dict[str, str]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each environment, which take turns: one training's rate, and how many times as long several take."""
    trainings = {
        threads: [Training(NETWORKS[name], arguments.batch_size, environment) for _ in range(max(CASES.values()))]
        for threads, environment in environments.items()
    }
    rates: dict[tuple[str, str], list[float]] = {(threads, case): [] for threads in trainings for case in CASES}
    started = [training for same in trainings.values() for training in same]
    try:
        for training in started:
            assert training.stdout.readline() == "ready\n"
        for _ in range(arguments.rounds):
            for (threads, case), measured in rates.items():
                at_once = trainings[threads][: CASES[case]]
                busy = subprocess.Popen([sys.executable, "-c", BUSY]) if case == "busy" else None
                for training in at_once:
                    training.begin(arguments.seconds)
                measured.append(statistics.mean(training.images_per_second() for training in at_once))
                if busy is not None:
                    busy.kill()
                    busy.wait()
    finally:
        for training in started:
            training.kill()
            training.communicate()
    baseline = next(iter(environments))
    return [
        {
            "network": name,
            "threads": threads,
            "images_per_second": statistics.median(rates[threads, "alone"]),
            "to_spinning": _median_ratio(rates[threads, "alone"], rates[baseline, "alone"]),
            **{case: _median_ratio(rates[threads, "alone"], rates[threads, case]) for case in ("two", "three", "busy")},
        }
        for threads in environments
    ]


def _median_ratio(rates: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(rates, others, strict=True))


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        train_when_told(arguments.worker, arguments.batch_size)
        return
    print_headline("cpu")
    environments = {"spinning": {}, "waiting": {"GOMP_SPINCOUNT": SPIN_COUNT}}
    environments |= {f"GOMP_SPINCOUNT={count}": {"GOMP_SPINCOUNT": str(count)} for count in arguments.spin_counts}
    rows = [row for name in arguments.networks for row in measure(name, environments, arguments)]
    cells = [
        [row["network"], row["threads"], f"{row['images_per_second']:.0f}", f"{row['to_spinning']:.2f}"]
        + [f"{row[case]:.2f}" for case in ("two", "three", "busy")]
        for row in rows
    ]
    print(columns([HEAD, *cells]))
    save_results(arguments.json, "cpu", rows, batch_size=arguments.batch_size)


if __name__ == "__main__":
    main()
