"""In which of the four settings of the 2017 paper's own code lies its accuracy? Each alone, and all together.

    python benchmarks/authors_settings.py                      the small CapsNet on KMNIST-7k, 10 epochs, three seeds
    python benchmarks/authors_settings.py model=capsnet        the whole one; further settings as well

All training images, shifts by up to two pixels; the test is of the last epoch.
"""

from trainings import Trainings, parser_of

CHANGES = {
    "routing.bias": ["routing.bias=true"],
    "reconstruction_weight=7.84": ["loss.reconstruction_weight=7.84"],
    "first_weights=authors": ["model.first_weights=authors"],
    "divide_primary": ["model.divide_primary=true"],
}
ROWS = {"none": [], **CHANGES, "all": [setting for change in CHANGES.values() for setting in change]}
SCORES = {"test_accuracy": "test/accuracy", "reconstruction_loss": "test/reconstruction_loss"}


def main() -> None:
    parser = parser_of(__doc__, "outputs/benchmarks/authors_settings")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_intermixed_args()
    common = ["data=kmnist_7k", "model=small_capsnet", "data.val_size=0", "augment=shift"]
    common += [f"trainer.max_epochs={arguments.epochs}", *arguments.more]
    scores = {name: lambda record, key=key: record["metrics"][key] for name, key in SCORES.items()}
    trainings = Trainings(arguments, ("change", "seed"), scores)
    if not arguments.table:
        trainings.run(
            ({"change": change, "seed": seed}, [*common, f"seed={seed}", *settings])
            for seed in arguments.seeds
            for change, settings in ROWS.items()
        )
    print(trainings.table("none"))


if __name__ == "__main__":
    main()
