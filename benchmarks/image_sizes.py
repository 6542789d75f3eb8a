"""Memory and time of a training step by image size: CapsNet with several strides, and the smaller networks.

    python benchmarks/image_sizes.py                      28 to 128 pixels, 20 classes, batches of 32
    python benchmarks/image_sizes.py --sizes 64 --classes 200

Each line comes from a process of its own. The memory is its peak, torch included; the time is the median of three steps
after the first, per image.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from implementations import training_step
from memory import MIB, peak_bytes
from report import print_headline, save_results
from timing import seconds

from capsnet.networks.capsnet import primary_grid, suitable_stride
from capsnet.runs.checkpoints import build_network
from capsnet.settings.config import Config
from capsnet.settings.parse import config_from_dict

NETWORKS: dict[str, dict[str, Any]] = {
    "capsnet": {"model": {"name": "capsnet"}},
    "capsnet, stride 2": {"model": {"name": "capsnet", "conv_stride": 2}},
    "capsnet, stride 3": {"model": {"name": "capsnet", "conv_stride": 3}},
    "capsnet, suitable stride": {"model": {"name": "capsnet", "conv_stride": None}},
    "small_capsnet": {"model": {"name": "small_capsnet"}},
    "efficient_capsnet": {"model": {"name": "efficient_capsnet"}},
    "res_capsnet": {"model": {"name": "res_capsnet"}},
}


def measure_here(name: str, size: int, classes: int, batch_size: int, device: str) -> dict[str, Any]:
    """One network, in this process."""
    config = config_from_dict(NETWORKS[name])
    shape = (1, size, size)
    parameters = sum(weight.numel() for weight in build_network(config, shape, classes).parameters())
    step = training_step(config, batch_size, device, classes, image_shape=shape)
    seconds(step, device)
    milliseconds = statistics.median(seconds(step, device) for _ in range(3)) / batch_size * 1e3
    return {
        "capsules": primary_capsules(config, size),
        "parameters": parameters,
        "ms_per_image": milliseconds,
        "mib": peak_bytes(device) / MIB,
    }


def primary_capsules(config: Config, size: int) -> int | None:
    """Their number, of a CapsNet."""
    if not hasattr(config.model, "conv_stride"):
        return None
    stride = config.model.conv_stride or suitable_stride(size, size)
    rows, columns = primary_grid(size, size, stride)
    return rows * columns * config.model.primary_capsules


def measure_apart(name: str, size: int, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The same in a process of its own; None if the images are too small for it."""
    command = [sys.executable, __file__, "--one", name, "--sizes", str(size), "--classes", str(arguments.classes)]
    command += ["--batch-size", str(arguments.batch_size), "--device", arguments.device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "are too small" in done.stderr:
        return None
    sys.exit(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 48, 64, 96, 128])
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/image_sizes.json"))
    parser.add_argument("--one", choices=NETWORKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measured = (arguments.one, arguments.sizes[0], arguments.classes, arguments.batch_size, arguments.device)
        print(json.dumps(measure_here(*measured)))
        return
    print_headline(arguments.device)
    print(f"{'pixels':>7}  {'network':<26}{'capsules':>9}{'parameters':>13}{'ms/image':>10}{'peak MiB':>10}")
    rows = []
    for size in arguments.sizes:
        for name in NETWORKS:
            if (found := measure_apart(name, size, arguments)) is None:
                continue
            rows.append({"pixels": size, "network": name, **found})
            capsules = "-" if found["capsules"] is None else f"{found['capsules']:,}"
            figures = f"{found['parameters']:>13,}{found['ms_per_image']:>10.1f}{found['mib']:>10,.0f}"
            print(f"{size:>7}  {name:<26}{capsules:>9}{figures}", flush=True)
    save_results(arguments.json, arguments.device, rows, classes=arguments.classes, batch_size=arguments.batch_size)


if __name__ == "__main__":
    main()
