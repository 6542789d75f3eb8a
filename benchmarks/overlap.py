"""Who takes two overlapping characters apart? Networks side by side on `task=overlap`.

    python benchmarks/overlap.py                                       KMNIST-7k, 10 epochs, three seeds
    python benchmarks/overlap.py --data mnist --root DIR --seeds 0     MultiMNIST
    python benchmarks/overlap.py --networks small_cnn capsule_loss_cnn --epochs 5 --seeds 0

Each network is trained twice from each seed, by `train.py` and with the settings that suit it: on pairs, a fifth of the
pairs of classes held out, and on single characters alone. Both are tested on the same pairs, once, after the last
epoch: no image is held out to choose by. All get the same images, epochs and batches, and no augmentation.
"""

import argparse
import itertools

from trainings import Planned, main, parser_of

STRIDE_2 = ("model=res_capsnet", "model.width=32", "model.blocks=1", "model.stride=2")
"""The network of `experiment=fast`: a fifth of the work of the default ResCapsNet."""
SMALL = ("model=small_capsnet", "optimizer.lr=0.004", "optimizer.warmup_epochs=1")
SLOW = ("model=small_capsnet", "optimizer.lr=0.001", "optimizer.warmup_epochs=0")
"""The rate that the network had before."""
NETWORKS: dict[str, tuple[str, ...]] = {
    "capsule_loss_cnn": ("model=capsule_loss_cnn",),
    "small_cnn": ("model=small_cnn",),
    "efficient_capsnet": ("model=efficient_capsnet",),
    "small_capsnet_dynamic_3": (*SMALL, "routing=dynamic"),
    "small_capsnet_uniform": (*SMALL, "routing=uniform"),
    "small_capsnet_attention": (*SMALL, "routing=attention"),
    "small_capsnet_dynamic_3_lr_0.001": (*SLOW, "routing=dynamic"),
    "small_capsnet_uniform_lr_0.001": (*SLOW, "routing=uniform"),
    "small_capsnet_attention_lr_0.001": (*SLOW, "routing=attention"),
    "capsnet_dynamic_3": ("model=capsnet", "routing=dynamic"),
    "capsnet_uniform": ("model=capsnet", "routing=uniform"),
    "capsnet_attention": ("model=capsnet", "routing=attention"),
    "res_capsnet_stride_2": (*STRIDE_2, "routing=dynamic"),
    "res_capsnet_stride_2_uniform": (*STRIDE_2, "routing=uniform"),
    "res_capsnet": ("model=res_capsnet",),
    "resnet18": ("model=resnet18",),
}
"""Settings by row. Uniform routing is dynamic routing with one iteration: the two are the same code."""
KINDS = {"pairs": "task.held_out_pairs=0.2", "single": "task.train=single"}
SCORES = {"exact_match": "test/exact_match", "per_character": "test/per_character",
          "held_out_pairs": "test/held_out_exact_match"}  # fmt: skip
"""Columns. The first and the last are exact matches, of the pairs of classes that were trained and of the others."""


def settings_of(arguments: argparse.Namespace, network: str, kind: str, seed: int) -> list[str]:
    settings = [f"data={arguments.data}", f"seed={seed}", *NETWORKS[network], "task=overlap", KINDS[kind]]
    settings += ["data.val_size=0", f"data.batch_size={arguments.batch_size}", "optimizer.schedule=cosine"]
    return [*settings, f"trainer.max_epochs={arguments.epochs}"]


def planned(arguments: argparse.Namespace) -> Planned:
    for seed, kind, network in itertools.product(arguments.seeds, arguments.kinds, arguments.networks):
        names = {"network": network, "trained_on": kind, "data": arguments.data, "seed": seed}
        yield names, settings_of(arguments, network, kind, seed)


def parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "outputs/benchmarks/overlap", "capsule_loss_cnn")
    parser.add_argument("--data", default="kmnist_7k")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    return parser


if __name__ == "__main__":
    main(parser(), planned, ("network", "trained_on", "data", "seed"), SCORES)
