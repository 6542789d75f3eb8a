"""All routings of matrices behind one trunk: accuracy on KMNIST-7k beside parameters, and what no capsules give.

    python benchmarks/routings.py                                  every routing at 1, 2 and 3 iterations, three seeds
    python benchmarks/routings.py --seeds 0 --iters 3 --limit 1000 --epochs 5 data.batch_size=32    a shorter one

Trainings are `experiment=comparison`, with `optimizer.lr` as `LEARNING_RATES` below has it. They are kept under
--folder, so an interrupted benchmark goes on where it was when it is started again; what is not trained yet is missing
in the table. Further arguments are overrides of all trainings.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import print_headline, save_results

from capsnet.files import read_json
from capsnet.settings.routing import OPTIONS
from capsnet.text import columns

REPO = Path(__file__).parents[1]
PLAIN = "plain convolutions"
LEARNING_RATES: dict[str, float] = {PLAIN: 0.016}
DEFAULT_LEARNING_RATE = 0.004


def cases(routings: list[str], iters: list[int], types: list[int], width: int) -> dict[str, list[str]]:
    """What is trained: its overrides, by name."""
    sizes = zip(("primary_capsules", "first_capsules", "second_capsules"), types, strict=True)
    trunk = ["model=matrix_capsnet", *(f"model.{key}={count}" for key, count in sizes)]
    plain = [f"plugin={REPO / 'benchmarks' / 'plain_trunk.py'}", "model=plain_trunk", f"model.width={width}"]
    found = {}
    for name in routings:
        chosen = [*trunk, f"routing={name}"]
        if name == PLAIN:
            found[name] = plain
        elif hasattr(OPTIONS[name], "iters"):
            found |= {f"{name}, {count} iterations": [*chosen, f"routing.iters={count}"] for count in iters}
        else:
            found[name] = chosen
    return found


def train(overrides: list[str], folder: Path) -> None:
    """One training; in a folder that has a finished one, nothing."""
    if (folder / "results.json").exists() and read_json(folder / "results.json")["status"] == "completed":
        return
    begun = (folder / "checkpoints" / "last.ckpt").exists()
    plugin = [one for one in overrides if one.startswith("plugin=")]
    chosen = [f"resume={folder}", *plugin] if begun else [*overrides, f"hydra.run.dir={folder}"]
    subprocess.run([sys.executable, REPO / "train.py", *chosen], check=True, stdout=subprocess.DEVNULL)


def row(name: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the trainings of one case gave."""
    accuracies = [100 * record["test_accuracy"] for record in records]
    return {
        "name": name,
        "seeds": len(records),
        "parameters": records[0]["parameters"],
        "test_accuracy": statistics.mean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "train_images_per_second": statistics.median(record["train_images_per_second"] for record in records),
    }


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [PLAIN, *(name for name, option in OPTIONS.items() if hasattr(option, "build_matrices"))]
    parser.add_argument("--routings", nargs="+", default=known, choices=known)
    parser.add_argument("--iters", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--types", type=int, nargs=3, default=[8, 16, 16], help="of capsules in the three layers")
    parser.add_argument("--width", type=int, default=58, help="of the plain trunk; 24 suits types 4 8 8")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--limit", type=int, default=None, help="training images")
    parser.add_argument("--folder", type=Path, default=Path("outputs/benchmarks/routings"))
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/routings.json"))
    return parser.parse_known_args()


def main() -> None:
    arguments, overrides = parse_arguments()
    print_headline("cpu")
    budget = ["experiment=comparison", f"trainer.max_epochs={arguments.epochs}", "figures=false", "logger=none"]
    budget += [f"data.limit={arguments.limit}"] if arguments.limit else []
    done: dict[str, list[dict[str, Any]]] = {}
    for seed in arguments.seeds:
        for name, chosen in cases(arguments.routings, arguments.iters, arguments.types, arguments.width).items():
            folder = (arguments.folder / f"{name.replace(', ', '_').replace(' ', '_')}_{seed}").resolve()
            rate = LEARNING_RATES.get(name.partition(",")[0], DEFAULT_LEARNING_RATE)
            train([*chosen, *budget, f"optimizer.lr={rate}", f"seed={seed}", *overrides], folder)
            done.setdefault(name, []).append(read_json(folder / "results.json"))
            print(f"seed {seed}: {name}: {done[name][-1]['test_accuracy']:.2%}", flush=True)
    rows = [row(name, records) for name, records in done.items()]
    cells = [
        [
            *(one["name"], str(one["seeds"]), f"{one['parameters']:,}"),
            f"{one['test_accuracy']:.2f} %" + (f" ± {one['deviation']:.2f}" if one["deviation"] is not None else ""),
            f"{one['train_images_per_second']:.0f}",
        ]
        for one in rows
    ]
    print(columns([["", "seeds", "parameters", "test accuracy", "images/s"], *cells]))
    save_results(arguments.json, "cpu", rows, epochs=arguments.epochs, types=arguments.types, limit=arguments.limit)


if __name__ == "__main__":
    main()
