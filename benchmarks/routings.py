"""All routings of matrices behind one trunk: accuracy on KMNIST-7k beside parameters, and what no capsules give.

    python benchmarks/routings.py                                  every routing at 1, 2 and 3 iterations, three seeds
    python benchmarks/routings.py --seeds 0 --iters 3 --epochs 5 data.limit=1000 data.batch_size=32    a shorter one

Trainings are `experiment=comparison`, with `optimizer.lr` as `LEARNING_RATES` below has it.
"""

import argparse
from pathlib import Path

from trainings import Planned, main, parser_of

from capsnet.settings.routing import OPTIONS

PLAIN_TRUNK = Path(__file__).with_name("plain_trunk.py")
PLAIN = "plain convolutions"
LEARNING_RATES: dict[str, float] = {PLAIN: 0.016}
DEFAULT_LEARNING_RATE = 0.004
SCORES = {"test_accuracy": "test/accuracy", "val_accuracy": "val/accuracy"}


def cases(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """What is trained: its settings, by name."""
    sizes = zip(("primary_capsules", "first_capsules", "second_capsules"), arguments.types, strict=True)
    trunk = ["model=matrix_capsnet", *(f"model.{key}={count}" for key, count in sizes)]
    found = {}
    for name in arguments.routings:
        chosen = [*trunk, f"routing={name}"]
        if name == PLAIN:
            found[name] = [f"plugin={PLAIN_TRUNK}", "model=plain_trunk", f"model.width={arguments.width}"]
        elif hasattr(OPTIONS[name], "iters"):
            found |= {f"{name}, iters={count}": [*chosen, f"routing.iters={count}"] for count in arguments.iters}
        else:
            found[name] = chosen
    return found


def planned(arguments: argparse.Namespace) -> Planned:
    budget = ["experiment=comparison", f"trainer.max_epochs={arguments.epochs}", "logger=none"]
    for seed in arguments.seeds:
        for name, chosen in cases(arguments).items():
            yield {"routing": name, "seed": seed}, [*chosen, *budget, f"optimizer.lr={rate_of(name)}", f"seed={seed}"]


def rate_of(name: str) -> float:
    return LEARNING_RATES.get(name.partition(",")[0], DEFAULT_LEARNING_RATE)


def parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "outputs/benchmarks/routings", PLAIN)
    known = [PLAIN, *(name for name, option in OPTIONS.items() if hasattr(option, "build_matrices"))]
    parser.add_argument("--routings", nargs="+", default=known, choices=known)
    parser.add_argument("--iters", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--types", type=int, nargs=3, default=[8, 16, 16], help="of capsules in the three layers")
    parser.add_argument("--width", type=int, default=58, help="of the plain trunk; 24 suits types 4 8 8")
    parser.add_argument("--epochs", type=int, default=15)
    return parser


if __name__ == "__main__":
    main(parser(), planned, ("routing", "seed"), SCORES)
