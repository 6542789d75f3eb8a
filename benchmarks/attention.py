"""How long attention routing takes next to dynamic routing, forward and backward, without the rest of the network.

    python benchmarks/attention.py                      CapsNet's 1,152 primary capsules and 10 classes, batches of 128
    python benchmarks/attention.py --precision bf16

Both never form the votes. Attention routing sums each vote's agreement with all others, which costs as much as two
iterations of dynamic routing. In each round the routings take turns in random order; ratios are medians within a round.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from report import print_headline, save_results
from timing import median_ratio, times_in_turns

from capsnet.settings.routing import Attention, Dynamic, Uniform
from capsnet.text import columns

ROUTINGS = {
    "dynamic, 2 iterations": Dynamic(iters=2),
    "attention": Attention(),
    "dynamic, 3 iterations": Dynamic(iters=3),
    "uniform": Uniform(),
}
BASELINE = "dynamic, 2 iterations"


def routing_step(
    name: str, shape: tuple[int, int, int, int], batch_size: int, device: str, bf16: bool
) -> Callable[[], None]:
    """A function that routes random capsules forward and backward.

    Args:
        name: of one of ROUTINGS.
        shape: in_caps, in_dim, out_caps, out_dim.
        batch_size: images.
        device: "cpu" or "cuda".
        bf16: under autocast to bfloat16, as in training with bf16-mixed.
    """
    torch.manual_seed(0)
    routing = ROUTINGS[name].build(*shape).to(device)
    u = torch.rand(batch_size, *shape[:2], device=device, requires_grad=True)
    gradient = torch.rand(batch_size, *shape[2:], device=device)

    def step() -> None:
        routing.zero_grad()
        u.grad = None
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            v = routing(u)
        v.backward(gradient.to(v.dtype))

    return step


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--shape", type=int, nargs=4, default=[1152, 8, 10, 16], metavar=("IN", "DIM", "OUT", "DIM"))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/attention.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print_headline(arguments.device)
    shape, bf16 = tuple(arguments.shape), arguments.precision == "bf16"
    steps = {name: routing_step(name, shape, arguments.batch_size, arguments.device, bf16) for name in ROUTINGS}
    times = times_in_turns(steps, arguments.rounds, arguments.device)
    rows = [
        {
            "routing": name,
            "ms_per_image": statistics.median(measured) / arguments.batch_size * 1e3,
            "to_baseline": median_ratio(times, name, BASELINE),
        }
        for name, measured in times.items()
    ]
    head = ["routing", "ms/image", f"to {BASELINE}"]
    print(
        columns([head, *([row["routing"], f"{row['ms_per_image']:.3f}", f"{row['to_baseline']:.2f}x"] for row in rows)])
    )
    settings = {"shape": list(shape), "batch_size": arguments.batch_size, "precision": arguments.precision}
    save_results(arguments.json, arguments.device, rows, **settings)


if __name__ == "__main__":
    main()
