"""Does a CapsNet start learning every time? Trains on digits over many seeds and shows the accuracy of each.

    python benchmarks/initialisation.py                    20 seeds, two epochs each
    python benchmarks/initialisation.py --gain 0.1 2       other scales of the class capsules' first weights

Prints a line per training and a summary; exits with 1 where a training is stuck, that is, below three times chance.
"""

import argparse
import sys

import torch
from tqdm import tqdm

from capsnet import model
from capsnet.checkpoint import build_network
from capsnet.config import Config, DataConfig
from capsnet.data import ImageDataModule
from capsnet.evaluation import score
from capsnet.losses import capsnet_losses

STUCK = 0.3


def accuracy_after(epochs: int, seed: int, batch_size: int, gain: float) -> float:
    """Validation accuracy after a plain training loop: the default recipe in bf16, without learning-rate decay."""
    config = Config(data=DataConfig(name="digits", batch_size=batch_size), seed=seed)
    data = ImageDataModule(config.data, seed=seed)
    data.setup("fit")
    torch.manual_seed(seed)
    model.CLASS_GAIN = gain
    network = build_network(config, data.image_shape, len(data.class_names))
    optimizer = torch.optim.Adam(network.parameters(), config.optimizer.lr, fused=True)
    batches = data.train_dataloader()
    for epoch in range(epochs):
        batches.epoch = lambda epoch=epoch: epoch
        for images, labels in batches:
            with torch.autocast("cpu", torch.bfloat16):
                output = network(images, labels)
                losses = capsnet_losses(output.lengths, output.reconstruction, images, labels, config.loss)
            optimizer.zero_grad()
            losses.loss.backward()
            optimizer.step()
    return score(network, data.val_dataloader(), config.loss).accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=DataConfig.batch_size)
    parser.add_argument("--gain", type=float, nargs="+", default=[model.CLASS_GAIN])
    arguments = parser.parse_args()
    any_stuck = False
    for gain in arguments.gain:
        accuracies = []
        for seed in tqdm(range(arguments.seeds), desc=f"gain {gain:g}", leave=False, disable=None):
            accuracies.append(accuracy_after(arguments.epochs, seed, arguments.batch_size, gain))
            print(f"gain {gain:g}  seed {seed:2d}  validation accuracy {accuracies[-1]:.1%}", flush=True)
        stuck = sum(accuracy < STUCK for accuracy in accuracies)
        any_stuck |= stuck > 0
        ordered = sorted(accuracies)
        print(
            f"gain {gain:g}: {stuck} of {len(ordered)} stuck after {arguments.epochs} epochs;"
            f" lowest {ordered[0]:.1%}, median {ordered[len(ordered) // 2]:.1%}, highest {ordered[-1]:.1%}"
        )
    sys.exit(any_stuck)


if __name__ == "__main__":
    main()
