"""Which epoch's weights to keep: rules that look at validation images, judged on held-out styles.

    python benchmarks/styles.py capsnet/shipped/kmnist_7k outputs/styles     write the dataset, see there
    python benchmarks/checkpoint_rules.py outputs/styles                     train and compare; goes on if cut off

Every epoch of every training is scored on the validation images and on the images of held-out styles. A rule chooses
an epoch by the validation images alone. The table shows how many points the chosen epoch recognizes less of the
held-out styles than the best epoch there, which no rule can know.
"""

import argparse
import csv
import itertools
import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from report import print_headline
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from capsnet import compose
from capsnet.data.batches import Batches
from capsnet.data.source import LabelledImages
from capsnet.text import columns
from capsnet.training.run import train

TRAININGS = {
    "small_capsnet": ["model=small_capsnet"],
    "small_capsnet, cross-entropy": ["model=small_capsnet", "loss=cross_entropy"],
    "efficient_capsnet": ["model=efficient_capsnet"],
    "small_cnn": ["model=small_cnn"],
    "res_capsnet": ["model=res_capsnet"],
    "capsnet": ["model=capsnet"],
}
COMMON = ["data=idx", "augment=shift_cutout", "trainer=cpu", "figures=false"]
DECAY = 0.99  # of the averaged weights, in a step
COLUMNS = ("training", "seed", "epoch", "val_images", "val_accuracy", "val_loss", "accuracy", "averaged_accuracy")

Epoch = dict[str, Any]


def earliest_best(epochs: list[Epoch]) -> Epoch:
    return max(epochs, key=lambda epoch: epoch["val_accuracy"])


def latest_best(epochs: list[Epoch]) -> Epoch:
    return max(reversed(epochs), key=lambda epoch: epoch["val_accuracy"])


def lowest_loss(epochs: list[Epoch]) -> Epoch:
    return min(epochs, key=lambda epoch: epoch["val_loss"])


def best_then_loss(epochs: list[Epoch]) -> Epoch:
    best = earliest_best(epochs)["val_accuracy"]
    return lowest_loss([epoch for epoch in epochs if epoch["val_accuracy"] == best])


def within_one_error(epochs: list[Epoch]) -> list[Epoch]:
    """The epochs whose accuracy is within one standard error of the best."""
    best = earliest_best(epochs)["val_accuracy"]
    error = math.sqrt(best * (1 - best) / epochs[0]["val_images"])
    return [epoch for epoch in epochs if epoch["val_accuracy"] >= best - error]


def lowest_loss_within_one_error(epochs: list[Epoch]) -> Epoch:
    return lowest_loss(within_one_error(epochs))


def latest_within_one_error(epochs: list[Epoch]) -> Epoch:
    return within_one_error(epochs)[-1]


RULES: dict[str, Callable[[list[Epoch]], Epoch]] = {
    "earliest best accuracy": earliest_best,
    "latest best accuracy": latest_best,
    "best accuracy, ties by loss": best_then_loss,
    "lowest loss within one standard error of the best accuracy": lowest_loss_within_one_error,
    "latest within one standard error of the best accuracy": latest_within_one_error,
    "lowest validation loss": lowest_loss,
    "last epoch": lambda epochs: epochs[-1],
}


class ScoredEpochs(Callback):
    """Scores every epoch's weights, and a moving average of them, on the images of held-out styles."""

    def __init__(self) -> None:
        self.rows: list[Epoch] = []
        self.average: AveragedModel | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.dataset = trainer.datamodule.dataset
        self.dataset.read_test_images()
        average = get_ema_multi_avg_fn(DECAY)
        self.average = AveragedModel(pl_module.network, multi_avg_fn=average, use_buffers=True)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *arguments: Any) -> None:
        self.average.update_parameters(pl_module.network)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        measured = trainer.callback_metrics
        self.rows.append(
            {
                "epoch": len(self.rows) + 1,
                "val_images": len(self.dataset.val_split.labels),
                "val_accuracy": float(measured["val/accuracy"]),
                "val_loss": float(measured["val/loss"]),
                "accuracy": accuracy(pl_module.network, self.dataset.test_split),
                "averaged_accuracy": accuracy(self.average.module, self.dataset.test_split),
            }
        )


@torch.no_grad()
def accuracy(network: torch.nn.Module, split: LabelledImages) -> float:
    """Share of the images that a network recognizes."""
    was_training = network.training
    network.eval()
    right = [(network(images).scores.argmax(1) == wanted.labels) for images, wanted in Batches(split, 250)]
    network.train(was_training)
    return float(torch.cat(right).float().mean())


def trained(name: str, seed: int, root: Path, epochs: int) -> list[Epoch]:
    """A training's epochs."""
    scores = ScoredEpochs()
    overrides = [*COMMON, *TRAININGS[name], f"data.root={root}", f"seed={seed}", f"trainer.max_epochs={epochs}"]
    with tempfile.TemporaryDirectory() as folder:
        train(compose(*overrides), Path(folder), overrides, [scores])
    return [{"training": name, "seed": seed, **row} for row in scores.rows]


def read_rows(path: Path) -> list[Epoch]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {key: value if key == "training" else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def table(rows: list[Epoch]) -> str:
    """Points lost by each rule, mean over the seeds of each training, and over all."""
    runs: dict[str, list[list[Epoch]]] = {}
    for (name, _), own in itertools.groupby(rows, key=lambda row: (row["training"], row["seed"])):
        runs.setdefault(name, []).append(list(own))
    names = list(runs)

    def lost(choose: Callable[[list[Epoch]], float]) -> list[str]:
        best = {name: [max(epoch["accuracy"] for epoch in run) for run in runs[name]] for name in names}
        means = [
            statistics.mean(100 * (most - choose(run)) for most, run in zip(best[name], runs[name], strict=True))
            for name in names
        ]
        return [f"{value:.2f}" for value in (*means, statistics.mean(means))]

    lines = [["rule", *(f"{name} ({len(runs[name])})" for name in names), "mean"]]
    lines += [[rule, *lost(lambda run, choose=choose: choose(run)["accuracy"])] for rule, choose in RULES.items()]
    lines.append(["averaged weights of the last epoch", *lost(lambda run: run[-1]["averaged_accuracy"])])
    return columns(lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a dataset in MNIST's format, whose test images are held-out styles")
    parser.add_argument("--trainings", nargs="+", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--csv", type=Path, default=Path("outputs/benchmarks/checkpoint_rules.csv"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print_headline("cpu")
    rows = read_rows(arguments.csv)
    arguments.csv.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["training"], row["seed"]) for row in rows}
    for seed, name in itertools.product(arguments.seeds, arguments.trainings):
        if (name, seed) not in done:
            rows += trained(name, seed, arguments.root.resolve(), arguments.epochs)
            with arguments.csv.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
            print(f"\nafter {name}, seed {seed}: points of held-out styles lost to the best epoch (trainings)\n")
            print(
                table(sorted(rows, key=lambda row: (list(TRAININGS).index(row["training"]), row["seed"]))), flush=True
            )


if __name__ == "__main__":
    main()
