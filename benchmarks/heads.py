"""What part have the capsules in the accuracy of ResCapsNet? The same trunk and training with other heads.

    python benchmarks/heads.py                              `experiment=fast`, five seeds
    python benchmarks/heads.py --experiment best --seeds 0 1 2

Heads: capsules with dynamic and with uniform routing; the mean over the map with a squashed vector for each class,
margin loss and decoder, without a capsule layer; the mean over the map with softmax. All have the learning rate of the
capsules. The experiments train on all images and test the last epoch.
"""

from pathlib import Path

from trainings import Trainings, parser_of

PLUGIN = f"plugin={Path(__file__).with_name('res_heads.py')}"
HEADS = {
    "softmax": [PLUGIN, "model=res_softmax", "routing=none", "loss=cross_entropy"],
    "vectors": [PLUGIN, "model=res_vectors", "routing=none"],
    "capsules, uniform": ["model=res_capsnet", "routing=uniform"],
    "capsules, dynamic": ["model=res_capsnet", "routing=dynamic"],
}
EXPERIMENTS = {"fast": "experiment=fast", "best": "experiment=thorough"}
"""`best` is `thorough` with ResCapsNet and a convolutional decoder."""


def settings_of(experiment: str, head: str) -> list[str]:
    draws = experiment == "best" and head != "softmax"
    return [EXPERIMENTS[experiment], *HEADS[head], *(["model.decoder=convolutional"] if draws else [])]


def main() -> None:
    parser = parser_of(__doc__, "outputs/benchmarks/heads")
    parser.add_argument("--experiment", choices=list(EXPERIMENTS), default="fast")
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.set_defaults(seeds=range(5))
    arguments = parser.parse_intermixed_args()
    scores = {"test_accuracy": lambda record: record["metrics"]["test/accuracy"]}
    trainings = Trainings(arguments, ("head", "experiment", "seed"), scores)
    if not arguments.table:
        trainings.run(
            (
                {"head": head, "experiment": arguments.experiment, "seed": seed},
                [*settings_of(arguments.experiment, head), f"seed={seed}", "figures=false", *arguments.more],
            )
            for seed in arguments.seeds
            for head in arguments.heads
        )
    print(trainings.table("softmax"))


if __name__ == "__main__":
    main()
