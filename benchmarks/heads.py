"""How much of ResCapsNet's accuracy is due to its capsules? The same trunk and training with other heads.

    python benchmarks/heads.py                              `experiment=fast`, five seeds
    python benchmarks/heads.py --experiment best --seeds 0 1 2

Heads: capsules with dynamic and with uniform routing; the mean over the map with a squashed vector for each class,
margin loss and decoder, without a capsule layer; the mean over the map with softmax. The capsules read the map by
learned weights for each place, the controls by a plain mean. All have the learning rate that was chosen for the
capsules. The experiments train on all images and test the last epoch.
"""

import argparse
from pathlib import Path

from trainings import Planned, main, parser_of

PLUGIN = f"plugin={Path(__file__).with_name('res_heads.py')}"
HEADS = {
    "softmax": [PLUGIN, "model=res_softmax", "routing=none", "loss=cross_entropy"],
    "vectors": [PLUGIN, "model=res_vectors", "routing=none"],
    "capsules, uniform": ["model=res_capsnet", "routing=uniform"],
    "capsules, dynamic": ["model=res_capsnet", "routing=dynamic"],
}
EXPERIMENTS = {"fast": "experiment=fast", "best": "experiment=thorough"}
"""`best` is `thorough` with ResCapsNet and a convolutional decoder."""


def planned(arguments: argparse.Namespace) -> Planned:
    for seed in arguments.seeds:
        for head in arguments.heads:
            drawn = arguments.experiment == "best" and head != "softmax"
            decoder = ["model.decoder=convolutional"] if drawn else []
            settings = [EXPERIMENTS[arguments.experiment], *HEADS[head], *decoder, f"seed={seed}"]
            yield {"head": head, "experiment": arguments.experiment, "seed": seed}, settings


def parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__, "outputs/benchmarks/heads", "softmax")
    parser.add_argument("--experiment", choices=list(EXPERIMENTS), default="fast")
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.set_defaults(seeds=range(5))
    return parser


if __name__ == "__main__":
    main(parser(), planned, ("head", "experiment", "seed"), {"test_accuracy": "test/accuracy"})
