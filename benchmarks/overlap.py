"""Who takes two overlapping characters apart? Networks side by side on `task=overlap`.

    python benchmarks/overlap.py                                       KMNIST-7k, 20 epochs, three seeds
    python benchmarks/overlap.py --data mnist --root DIR --seeds 0     MultiMNIST
    python benchmarks/overlap.py --networks small_cnn capsule_loss_cnn --epochs 5 --seeds 0

Each network is trained twice from each seed, by `train.py` and with the settings that suit it: on pairs, a fifth of the
pairs of classes held out, and on single characters alone. Both are tested on the same pairs, once, after the last
epoch: no image is held out to choose by. All get the same images, epochs and batches, and no augmentation.

The command can be stopped and called again: finished runs are not repeated, and one that was cut short goes on. The
table has what has finished.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from report import print_headline, save_results

from capsnet.runs.folder import RECORD_FILE
from capsnet.runs.record import read_record
from capsnet.text import columns

TRAIN = Path(__file__).parents[1] / "train.py"
FOLDER = Path("outputs/benchmarks/overlap")
STRIDE_2 = ("model=res_capsnet", "model.width=32", "model.blocks=1", "model.stride=2")
"""The network of `experiment=fast`: a fifth of the work of the default ResCapsNet."""
NETWORKS = {
    "small_cnn": ("model=small_cnn",),
    "capsule_loss_cnn": ("model=capsule_loss_cnn",),
    "efficient_capsnet": ("model=efficient_capsnet",),
    "capsnet_uniform": ("model={capsnet}", "routing=uniform"),
    "capsnet_dynamic_3": ("model={capsnet}", "routing=dynamic"),
    "capsnet_attention": ("model={capsnet}", "routing=attention"),
    "res_capsnet": ("model=res_capsnet",),
    "res_capsnet_stride_2": (*STRIDE_2, "routing=dynamic"),
    "res_capsnet_stride_2_uniform": (*STRIDE_2, "routing=uniform"),
    "resnet18": ("model=resnet18",),
}
"""Overrides by row. Uniform routing is dynamic routing with one iteration: the two are the same code."""
KINDS = {"pairs": ("task.held_out_pairs=0.2",), "single": ("task.train=single",)}
SCORES = {
    "exact match": ("pairs", "test/exact_match"),
    "per character": ("pairs", "test/per_character"),
    "held-out pairs": ("pairs", "test/held_out_exact_match"),
    "single to double": ("single", "test/exact_match"),
}
"""Columns: which training, and which metric. All but the second are exact matches."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="kmnist_7k")
    parser.add_argument("--root", type=Path, help="folder of the data, for a dataset that has one")
    parser.add_argument("--capsnet", choices=["capsnet", "small_capsnet"], default="capsnet")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--limit", type=int, help="use only so many training images")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--table", action="store_true", help="train nothing; print what has finished")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/overlap.json"))
    return parser.parse_args()


def run_folder(arguments: argparse.Namespace, network: str, kind: str, seed: int) -> Path:
    model = network.replace("capsnet_", f"{arguments.capsnet}_") if network.startswith("capsnet_") else network
    return arguments.folder / f"{arguments.data}_{arguments.epochs}_epochs" / model / kind / str(seed)


def train(arguments: argparse.Namespace, network: str, kind: str, seed: int) -> None:
    """Run `train.py`, unless this run has finished."""
    folder = run_folder(arguments, network, kind, seed)
    begun = (folder / RECORD_FILE).exists()
    if begun and read_record(folder)["status"] == "completed":
        return
    given = {"data": arguments.data, "data.root": arguments.root, "data.limit": arguments.limit, "seed": seed}
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    overrides += [part.format(capsnet=arguments.capsnet) for part in NETWORKS[network]]
    overrides += ["task=overlap", *KINDS[kind], "data.val_size=0", f"data.batch_size={arguments.batch_size}"]
    overrides += ["optimizer.schedule=cosine", f"trainer.max_epochs={arguments.epochs}", f"hydra.run.dir={folder}"]
    subprocess.run([sys.executable, TRAIN, *([f"resume={folder}"] if begun else overrides)], check=True)


def row(arguments: argparse.Namespace, network: str) -> dict[str, Any]:
    """What has finished of a network: its scores, one for each seed."""
    found: dict[str, Any] = {"network": run_folder(arguments, network, "", 0).parent.name}
    for seed, kind in itertools.product(arguments.seeds, KINDS):
        folder = run_folder(arguments, network, kind, seed)
        if not (folder / RECORD_FILE).exists() or (record := read_record(folder))["status"] != "completed":
            continue
        found |= {"parameters": record["parameters"]}
        found.setdefault(f"{kind} minutes", []).append(record["train_seconds"] / 60)
        for head, (own_kind, metric) in SCORES.items():
            if own_kind == kind:
                found.setdefault(head, []).append(record["metrics"][metric])
    return found


def shown(scores: list[float]) -> str:
    """Mean and standard deviation over the seeds, in percent."""
    if not scores:
        return "-"
    deviation = f" ± {100 * statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{100 * statistics.mean(scores):.2f}{deviation} ({len(scores)})"


def main() -> None:
    arguments = parse_arguments()
    print_headline("cpu")
    if not arguments.table:
        for seed, kind, network in itertools.product(arguments.seeds, KINDS, arguments.networks):
            train(arguments, network, kind, seed)
    rows = [found for network in arguments.networks if len(found := row(arguments, network)) > 1]
    heads = ["network", "parameters", *SCORES]
    cells = [
        [found["network"], f"{found['parameters']:,}", *(shown(found.get(head, [])) for head in SCORES)]
        for found in rows
    ]
    print("\n" + columns([heads, *cells]))
    print("\nexact matches but for the second column, in % (number of seeds); chance is 1 in 45 for ten classes")
    settings = {"data": arguments.data, "epochs": arguments.epochs, "limit": arguments.limit}
    save_results(arguments.json, "cpu", rows, **settings, batch_size=arguments.batch_size)


if __name__ == "__main__":
    main()
