"""Table 1 of Sabour, Frosst & Hinton (2017) on MNIST, and the same on KMNIST-7k: routing iterations and reconstruction.

    python benchmarks/table1.py --root DIR --seconds 3600 --out outputs/table1      MNIST in DIR/MNIST/raw
    python benchmarks/table1.py --data kmnist_7k --out outputs/table1_kmnist         no files needed

Each row is `experiment=sabour_2017` with what the row says, trained on all training images. The test is of the last
epoch: nothing is chosen by it. All rows get the same epochs. The paper trains far longer than a processor can.
"""

from pathlib import Path

from trainings import Trainings, parser_of

ALONE = "loss.reconstruction_weight=0"
ROWS: dict[str, tuple[list[str], float]] = {
    "CapsNet, 3 iterations, reconstruction": (["routing.iters=3"], 0.25),
    "CapsNet, 1 iteration": (["routing.iters=1", ALONE], 0.34),
    "CapsNet, 1 iteration, reconstruction": (["routing.iters=1"], 0.29),
    "CapsNet, 3 iterations": (["routing.iters=3", ALONE], 0.35),
    "CNN": (["model=cnn", "routing=none", "loss=cross_entropy"], 0.39),
}
"""The settings of each row of the table, and the paper's test error in percent. The first two carry its claim."""


def main() -> None:
    parser = parser_of(__doc__, "outputs/table1")
    parser.add_argument("--root", type=Path, help="the folder that has MNIST/raw; without it, as data.root says")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    arguments = parser.parse_intermixed_args()
    common = ["experiment=sabour_2017", f"data={arguments.data}", "data.val_size=0", "figures=false"]
    common += [f"data.root={arguments.root.resolve()}"] if arguments.root else []
    common += [f"trainer.max_epochs={arguments.epochs}", *arguments.more]
    errors = {"test_error": lambda record: 1 - record["metrics"]["test/accuracy"]}
    trainings = Trainings(arguments, ("network", "paper_error_percent", "data", "seed"), errors)
    if not arguments.table:
        trainings.run(
            (
                {"network": row, "paper_error_percent": ROWS[row][1], "data": arguments.data, "seed": seed},
                [*common, f"seed={seed}", *ROWS[row][0]],
            )
            for seed in arguments.seeds
            for row in arguments.rows
        )
    print(trainings.table())


if __name__ == "__main__":
    main()
