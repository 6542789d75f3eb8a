"""Do the four settings of the 2017 paper's own code help? Each alone, and all together.

    python benchmarks/authors_settings.py                      the small CapsNet on KMNIST-7k, 10 epochs, three seeds
    python benchmarks/authors_settings.py --model capsnet      the whole one

All training images, shifts by up to two pixels; the test is of the last epoch.
"""

import argparse

from trainings import Planned, main, parser_of

CHANGES = {
    "routing.bias": ["routing.bias=true"],
    "reconstruction_weight=7.84": ["loss.reconstruction_weight=7.84"],
    "first_weights=authors": ["model.first_weights=authors"],
    "divide_primary": ["model.divide_primary=true"],
}
ROWS = {"none": [], **CHANGES, "all": [setting for change in CHANGES.values() for setting in change]}
SCORES = {"test_accuracy": "test/accuracy", "reconstruction_loss": "test/reconstruction_loss"}


def planned(arguments: argparse.Namespace) -> Planned:
    common = ["data=kmnist_7k", f"model={arguments.model}", "data.val_size=0", "augment=shift"]
    common += ["optimizer.lr=0.001", "optimizer.warmup_epochs=0"]
    for seed in arguments.seeds:
        for change, settings in ROWS.items():
            budget = [f"trainer.max_epochs={arguments.epochs}", f"seed={seed}"]
            yield {"change": change, "model": arguments.model, "seed": seed}, [*common, *budget, *settings]


def parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "outputs/benchmarks/authors_settings", "none")
    parser.add_argument("--model", choices=["small_capsnet", "capsnet"], default="small_capsnet")
    parser.add_argument("--epochs", type=int, default=10)
    return parser


if __name__ == "__main__":
    main(parser(), planned, ("change", "model", "seed"), SCORES)
