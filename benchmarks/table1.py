"""Table 1 of Sabour, Frosst & Hinton (2017) on MNIST, and the same on KMNIST-7k: routing iterations and reconstruction.

    python benchmarks/table1.py --root DIR --seconds 3600 --out outputs/table1      MNIST in DIR/MNIST/raw
    python benchmarks/table1.py --data kmnist_7k --out outputs/table1_kmnist         no files needed

Each row is `experiment=sabour_2017` with what the row says, and the CNN the same training with cross-entropy, on all
training images. The test is of the last epoch: nothing is chosen by it. All rows get the same epochs. The paper trains
far longer than a processor can; `--model small_capsnet` has a quarter of the channels and trains ten times as fast.
"""

import argparse

from trainings import Planned, main, parser_of

ALONE = "loss.reconstruction_weight=0"
CNN = ["model=cnn", "augment=shift", "data.batch_size=128", "optimizer.lr_decay=0.991", "optimizer.warmup_epochs=0"]
ROWS: dict[str, list[str]] = {
    "CapsNet, 3 iterations, reconstruction": ["routing.iters=3"],
    "CapsNet, 1 iteration": ["routing.iters=1", ALONE],
    "CapsNet, 1 iteration, reconstruction": ["routing.iters=1"],
    "CapsNet, 3 iterations": ["routing.iters=3", ALONE],
    "CNN": CNN,
}
"""What each row sets. The first two carry the paper's claim."""
PAPER = dict(zip(ROWS, (0.25, 0.34, 0.29, 0.35, 0.39), strict=True))
"""The paper's test errors on MNIST, in percent."""


def planned(arguments: argparse.Namespace) -> Planned:
    budget = [f"data={arguments.data}", "data.val_size=0", f"trainer.max_epochs={arguments.epochs}"]
    for seed in arguments.seeds:
        for row in arguments.rows:
            recipe = [] if row == "CNN" else ["experiment=sabour_2017", f"model={arguments.model}"]
            names = {"network": row, "model": arguments.model, "data": arguments.data, "seed": seed}
            yield names, [*recipe, *ROWS[row], *budget, f"seed={seed}"]


def parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "outputs/table1", "CapsNet, 1 iteration")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--model", choices=["capsnet", "small_capsnet"], default="capsnet")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    return parser


if __name__ == "__main__":
    main(parser(), planned, ("network", "model", "data", "seed"), {"test_accuracy": "test/accuracy"})
    print("the paper's test errors on MNIST: " + "; ".join(f"{row}: {error} %" for row, error in PAPER.items()))
