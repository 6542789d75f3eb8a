"""How much memory the routing of one training step needs, over the number of classes, against explicit predictions.

    python benchmarks/memory.py            10, 49, 100 and 200 classes, batch 128, 28x28 images; table, JSON and plot

Each figure is the peak of a process of its own (on the CPU its resident size, on a GPU the allocator's peak) while
the routing runs forward and backward, less what the process held before: u, W and their gradients count only where the
implementation makes them. "whole step" is the peak of a process that trains the whole network, torch itself included.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import torch
from baselines import BASELINES
from matplotlib.figure import Figure

from capsnet import dynamic_routing
from capsnet.config import Config
from capsnet.module import CapsNetModule
from capsnet.results import processor_name

IMPLEMENTATIONS = {"ours": dynamic_routing, "einsum": BASELINES["einsum"], "broadcast": BASELINES["broadcast"]}
IN_CAPS, IN_DIM, OUT_DIM, ITERS = 1152, 8, 16, 3
WHOLE = "whole step"
MIB = 2**20
MOST_BYTES = 20 * 2**30


def peak_of(name: str, classes: int, batch_size: int, device: str) -> dict[str, float]:
    """Measure in this process: peak MiB, and median milliseconds per image of forward and backward."""
    route = IMPLEMENTATIONS[name]

    def leaves(batch: int, in_caps: int, out_caps: int) -> tuple[torch.Tensor, torch.Tensor]:
        u = torch.rand(batch, in_caps, IN_DIM, device=device) - 0.5
        weight = torch.randn(out_caps, in_caps, IN_DIM, OUT_DIM, device=device) / 10
        return u.requires_grad_(), weight.requires_grad_()

    def step(u: torch.Tensor, weight: torch.Tensor) -> None:
        route(u, weight, ITERS).square().sum().backward()

    step(*leaves(4, 64, 4))  # libraries set up their own buffers on first use
    u, weight = leaves(batch_size, IN_CAPS, classes)
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(u, weight)
        peak = torch.cuda.max_memory_allocated() - before
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = resident("VmRSS")
        step(u, weight)
        peak = resident("VmHWM") - before
    times = []
    for _ in range(3):
        u.grad = weight.grad = None
        began = time.perf_counter()
        step(u, weight)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return {"mib": peak / MIB, "ms_per_image": statistics.median(times) / batch_size * 1e3}


def peak_of_step(classes: int, batch_size: int, device: str) -> dict[str, float]:
    """Measure in this process: peak MiB of training the whole network for three steps, all told."""
    config = Config()
    module = CapsNetModule(config, (1, 28, 28), classes).to(device)
    optimizer = module.configure_optimizers()["optimizer"]
    times = []
    for _ in range(3):
        images = torch.rand(batch_size, 1, 28, 28, device=device)
        labels = torch.randint(classes, (batch_size,), device=device)
        began = time.perf_counter()
        optimizer.zero_grad()
        module.training_step((images, labels), 0).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else resident("VmHWM")
    return {"mib": peak / MIB, "ms_per_image": statistics.median(times) / batch_size * 1e3}


def resident(field: str) -> int:
    """This process's resident bytes: "VmRSS" now, "VmHWM" at their peak (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


def plot(rows: list[dict], path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in IMPLEMENTATIONS:
        own = [row for row in rows if row["implementation"] == name]
        axes.plot([row["classes"] for row in own], [row["mib"] for row in own], marker="o", label=name)
    axes.set(
        xlabel="classes", ylabel="peak memory of the routing (MiB)", title="Routing, forward and backward, batch 128"
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 49, 100, 200])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/memory.json"))
    parser.add_argument("--plot", type=Path, default=Path("outputs/benchmarks/memory.png"))
    parser.add_argument("--one", choices=[*IMPLEMENTATIONS, WHOLE], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        if arguments.device == "cpu":
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))  # an error, not a machine that hangs
        case = (arguments.classes[0], arguments.batch_size, arguments.device)
        print(json.dumps(peak_of_step(*case) if arguments.one == WHOLE else peak_of(arguments.one, *case)))
        return
    machine = torch.cuda.get_device_name() if arguments.device == "cuda" else processor_name()
    print(f"{machine}, torch {torch.__version__}, {date.today()}\n")
    print(f"{'classes':>8}  {'implementation':<16}{'peak MiB':>10}{'of einsum':>11}{'ms/image':>10}")
    rows = []
    for classes in arguments.classes:
        found = {}
        for name in (*IMPLEMENTATIONS, WHOLE):
            command = [sys.executable, __file__, "--one", name, "--classes", str(classes)]
            command += ["--batch-size", str(arguments.batch_size), "--device", arguments.device]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0 and not re.search("OutOfMemoryError|MemoryError|allocate memory", done.stderr):
                sys.exit(done.stderr)
            found[name] = json.loads(done.stdout) if done.returncode == 0 else None
        for name, measured in found.items():
            if measured is None:
                print(f"{classes:>8}  {name:<16}{'out of memory':>10}")
                continue
            rows.append({"classes": classes, "implementation": name, **measured})
            comparable = found["einsum"] and name != WHOLE
            share = f"{measured['mib'] / found['einsum']['mib']:.2f}" if comparable else "-"
            print(f"{classes:>8}  {name:<16}{measured['mib']:>10,.0f}{share:>11}{measured['ms_per_image']:>10.2f}")
    record = {"machine": machine, "torch": torch.__version__, "date": str(date.today()), "rows": rows}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    plot(rows, arguments.plot)
    print(f"\nwritten to {arguments.json} and {arguments.plot}")


if __name__ == "__main__":
    main()
