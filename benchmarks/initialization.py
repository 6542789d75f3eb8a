"""Does a CapsNet start to learn, whatever the seed? Trains on digits with many seeds and shows each accuracy.

    python benchmarks/initialization.py                    20 seeds, two epochs each
    python benchmarks/initialization.py --gain 0.1 2       other scales of the initial transformation matrices

Prints a line per training and a summary. Exits with 1 if a training is stuck, that is, below three times chance.
"""

import argparse
import statistics
import sys

import torch
from tqdm import tqdm

from capsnet.losses import END
from capsnet.reports.scores import score
from capsnet.routing.transformation import GAIN
from capsnet.runs.checkpoints import build_network
from capsnet.settings.config import build_loss, build_metrics
from capsnet.settings.parse import config_from_dict
from capsnet.training.datamodule import KMNISTDataModule

STUCK = 0.3  # three times chance


def accuracy_after(epochs: int, seed: int, batch_size: int, gain: float) -> float:
    """Validation accuracy after a plain training loop on the CPU: default settings, but the learning rate is constant.

    Args:
        epochs: to train.
        seed: fixes initial weights, validation split and order.
        batch_size: images per optimizer step.
        gain: scale of the initial transformation matrices.
    """
    config = config_from_dict(
        {
            "data": {"name": "digits", "batch_size": batch_size},
            "optimizer": {"lr": 0.001, "warmup_epochs": 0},
            "trainer": {"accelerator": "cpu"},
            "seed": seed,
        }
    )
    data = KMNISTDataModule(config=config)
    data.setup("fit")
    dataset = data.dataset
    torch.manual_seed(seed)
    network = build_network(config, dataset.image_shape, len(dataset.class_names))
    network.routing.weight.data.mul_(gain / GAIN)
    task, loss = config.task.build(), build_loss(config.loss)
    optimizer, _ = config.optimizer.build(network.parameters(), fused=True, epochs=config.trainer.max_epochs)
    batches = data.train_dataloader()
    for epoch in range(epochs):
        batches.epoch = lambda epoch=epoch: epoch
        for images, targets in batches:
            losses = loss(task.output(network, images, targets), targets, END)
            optimizer.zero_grad()
            losses["loss"].backward()
            optimizer.step()
    return score(network, data.val_dataloader(), task, loss, build_metrics(config)).measured["accuracy"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--gain", type=float, nargs="+", default=[GAIN])
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    any_stuck = False
    for gain in arguments.gain:
        accuracies = []
        for seed in tqdm(range(arguments.seeds), desc=f"gain {gain:g}", leave=False, disable=None):
            accuracies.append(accuracy_after(arguments.epochs, seed, arguments.batch_size, gain))
            print(f"gain {gain:g}  seed {seed:2d}  validation accuracy {accuracies[-1]:.1%}", flush=True)
        stuck = sum(accuracy < STUCK for accuracy in accuracies)
        any_stuck |= stuck > 0
        print(
            f"gain {gain:g}: {stuck} of {len(accuracies)} stuck after {arguments.epochs} epochs;"
            f" lowest {min(accuracies):.1%}, median {statistics.median(accuracies):.1%}, highest {max(accuracies):.1%}"
        )
    sys.exit(any_stuck)


if __name__ == "__main__":
    main()
