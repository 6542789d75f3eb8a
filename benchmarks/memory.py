"""How much memory routing needs in a training step, by number of classes: ours against explicit predictions.

    python benchmarks/memory.py            10, 49, 100 and 200 classes, batches of 128; table, JSON file and plot

Each figure comes from a process of its own. It is the peak while routing runs forward and backward, less what the
process held before: on the CPU resident memory, on a GPU what torch's allocator gave out. The input capsules and W
exist before, so they do not count; their gradients do. "whole step" is the peak of a process that trains the whole
network for three steps; on the CPU that includes torch itself.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from implementations import config_with, training_step
from matplotlib.figure import Figure
from report import print_headline, save_results
from timing import seconds, wait_for

from capsnet.training.allocation import freed_memory_kept

IMPLEMENTATIONS = ("ours", "einsum", "matmul")
WHOLE_STEP = "whole step"
IN_CAPS, IN_DIM, OUT_DIM = 1152, 8, 16  # of the default network on images of 28x28
MIB = 2**20
LARGEST_PROCESS = 20 * 2**30  # bytes; a process that needs more fails, so that the machine does not hang


def measure_routing(name: str, classes: int, batch_size: int, device: str) -> dict[str, float]:
    """Peak MiB of routing in this process, and median milliseconds per image, forward and backward."""
    option = config_with(name).routing

    def forward_and_backward(batch: int, in_caps: int, out_caps: int):
        routing = option.build(in_caps, IN_DIM, out_caps, OUT_DIM).to(device)
        u = (torch.rand(batch, in_caps, IN_DIM, device=device) - 0.5).requires_grad_()

        def step() -> None:
            u.grad = routing.weight.grad = None
            routing(u).square().sum().backward()

        return step

    forward_and_backward(4, 64, 4)()  # libraries allocate their own buffers on first use
    step = forward_and_backward(batch_size, IN_CAPS, classes)
    before = held_bytes(device)
    forget_peak(device)
    step()
    peak = peak_bytes(device) - before
    return {"mib": peak / MIB, "ms_per_image": milliseconds_per_image(step, batch_size, device)}


def measure_whole_step(classes: int, batch_size: int, device: str) -> dict[str, float]:
    """Peak MiB of this process when it trains the whole network for three steps, and median milliseconds per image."""
    with freed_memory_kept():
        step = training_step(config_with("ours"), batch_size, device, classes)
        milliseconds = milliseconds_per_image(step, batch_size, device)
    return {"mib": peak_bytes(device) / MIB, "ms_per_image": milliseconds}


def milliseconds_per_image(step, batch_size: int, device: str) -> float:
    """Median of three steps."""
    return statistics.median(seconds(step, device) for _ in range(3)) / batch_size * 1e3


def held_bytes(device: str) -> int:
    """Memory that this process holds now."""
    wait_for(device)
    return torch.cuda.memory_allocated() if device == "cuda" else resident_bytes("VmRSS")


def forget_peak(device: str) -> None:
    """Measure the peak from here on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    """The most memory that this process held, since `forget_peak` if that was called."""
    wait_for(device)
    return torch.cuda.max_memory_allocated() if device == "cuda" else resident_bytes("VmHWM")


def resident_bytes(field: str) -> int:
    """Resident memory of this process: "VmRSS" now, "VmHWM" at its peak. Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


def measure_here(name: str, classes: int, batch_size: int, device: str) -> None:
    """Measure one implementation in this process, and print the figures as JSON for `measure_apart`."""
    if device == "cpu":
        resource.setrlimit(resource.RLIMIT_DATA, (LARGEST_PROCESS, LARGEST_PROCESS))
    measure = measure_whole_step if name == WHOLE_STEP else lambda *case: measure_routing(name, *case)
    print(json.dumps(measure(classes, batch_size, device)))


def measure_apart(name: str, classes: int, batch_size: int, device: str) -> dict[str, float] | None:
    """Measure one implementation in a process of its own; None if there is not enough memory."""
    command = [sys.executable, __file__, "--one", name, "--classes", str(classes)]
    command += ["--batch-size", str(batch_size), "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if re.search("OutOfMemoryError|MemoryError|allocate memory", done.stderr):
        return None
    sys.exit(done.stderr)


def measure_classes(classes: int, batch_size: int, device: str) -> list[dict[str, Any]]:
    """Measure and print everything for one number of classes."""
    found = {name: measure_apart(name, classes, batch_size, device) for name in (*IMPLEMENTATIONS, WHOLE_STEP)}
    rows = []
    for name, measured in found.items():
        if measured is None:
            print(f"{classes:>8}  {name:<16}{'out of memory':>10}")
            continue
        rows.append({"classes": classes, "implementation": name, **measured})
        comparable = found["einsum"] and name != WHOLE_STEP
        share = f"{measured['mib'] / found['einsum']['mib']:.2f}" if comparable else "-"
        print(f"{classes:>8}  {name:<16}{measured['mib']:>10,.0f}{share:>11}{measured['ms_per_image']:>10.2f}")
    sys.stdout.flush()
    return rows


def plot(rows: list[dict[str, Any]], batch_size: int, path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in IMPLEMENTATIONS:
        own = [row for row in rows if row["implementation"] == name]
        axes.plot([row["classes"] for row in own], [row["mib"] for row in own], marker="o", label=name)
    axes.set(
        xlabel="classes",
        ylabel="peak memory of routing (MiB)",
        title=f"Routing, forward and backward, batch {batch_size}",
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 49, 100, 200])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/memory.json"))
    parser.add_argument("--plot", type=Path, default=Path("outputs/benchmarks/memory.png"))
    parser.add_argument("--one", choices=[*IMPLEMENTATIONS, WHOLE_STEP], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.one:
        measure_here(arguments.one, arguments.classes[0], arguments.batch_size, arguments.device)
        return
    print_headline(arguments.device)
    print(f"{'classes':>8}  {'implementation':<16}{'peak MiB':>10}{'of einsum':>11}{'ms/image':>10}")
    rows = []
    for classes in arguments.classes:
        rows += measure_classes(classes, arguments.batch_size, arguments.device)
    plot(rows, arguments.batch_size, arguments.plot)
    save_results(arguments.json, arguments.device, rows, batch_size=arguments.batch_size)
    print(f"plotted in {arguments.plot}")


if __name__ == "__main__":
    main()
