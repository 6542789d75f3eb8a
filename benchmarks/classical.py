"""What methods without a neural network reach on the same images: neighbors, a linear and a kernel method.

    python benchmarks/classical.py                         KMNIST-7k, three seeds
    python benchmarks/classical.py --data digits --seeds 1

Each seed holds out other validation images, as `train.py` does. A method's own setting is chosen on them. It is then
tested once, trained on the same training images. The pixels are used as they are, in [0, 1].
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import print_headline, save_results
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from tqdm import tqdm

from capsnet import compose
from capsnet.data.dataset import Dataset
from capsnet.data.source import LabelledImages
from capsnet.runs.repetitions import spread
from capsnet.settings.config import OPTIONS
from capsnet.text import columns

DATASETS = [name for name in OPTIONS["data"] if name not in ("folder", "idx")]  # those that need no files of yours


class Method(NamedTuple):
    """A classifier, and the values of its setting to choose from."""

    name: str
    build: Callable[[Any], Any]
    setting: str
    choices: tuple[Any, ...]


METHODS = (
    Method(
        "nearest neighbors",
        lambda k: KNeighborsClassifier(k, weights="distance"),
        *("k", (1, 3, 5, 9)),
    ),
    Method(
        "logistic regression",
        lambda c: LogisticRegression(C=c, max_iter=1000),
        *("C", (0.001, 0.01, 0.1, 1.0)),
    ),
    Method(
        "SVM, RBF kernel",
        lambda c: SVC(C=c, kernel="rbf", gamma="scale"),
        *("C", (1.0, 5.0, 20.0)),
    ),
)


@dataclass
class Found:
    """A method with the setting that was chosen; a row of the JSON file."""

    method: str
    seed: int
    setting: str
    val_accuracy: float
    test_accuracy: float
    train_seconds: float
    """Of the chosen setting."""
    inference_images_per_second: float


def pixels(split: LabelledImages) -> tuple[np.ndarray, np.ndarray]:
    """Images as rows [n, pixels] in [0, 1], and labels [n]."""
    return split.images.flatten(1).numpy().astype(np.float32) / 255, split.labels.numpy()


def measure(method: Method, dataset: Dataset, seed: int) -> Found:
    """Choose a method's setting on the validation images, and test it once."""
    dataset.read_training_images()
    assert dataset.train_split is not None
    assert dataset.val_split is not None
    images, labels = pixels(dataset.train_split)
    tried = []
    for choice in method.choices:
        began = time.perf_counter()
        classifier = method.build(choice).fit(images, labels)
        seconds = time.perf_counter() - began
        tried.append((classifier.score(*pixels(dataset.val_split)), choice, classifier, seconds))
    val_accuracy, choice, classifier, seconds = max(tried, key=lambda one: one[0])
    test_images, test_labels = pixels(dataset.read_test_images())
    began = time.perf_counter()
    test_accuracy = float((classifier.predict(test_images) == test_labels).mean())
    speed = len(test_labels) / (time.perf_counter() - began)
    return Found(method.name, seed, f"{method.setting}={choice}", val_accuracy, test_accuracy, seconds, speed)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATASETS, default="kmnist_7k")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/classical.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print_headline("cpu")
    data = compose(f"data={arguments.data}").data
    runs = [(method, seed) for method in METHODS for seed in range(arguments.seeds)]
    found = []
    for method, seed in tqdm(runs, leave=False, disable=None):
        found.append(measure(method, data.build(seed), seed))
    rows = []
    for method in METHODS:
        own = [one for one in found if one.method == method.name]
        rows.append(
            [
                method.name,
                str(len(own)),
                str(spread(one.val_accuracy for one in own)),
                str(spread(one.test_accuracy for one in own)),
                f"{np.mean([one.inference_images_per_second for one in own]):,.0f}",
                ", ".join(sorted({one.setting for one in own})),
            ]
        )
    print(columns([["method", "seeds", "validation", "test", "infer/s", "chosen"], *rows]))
    save_results(arguments.json, "cpu", list(map(asdict, found)), data=arguments.data)


if __name__ == "__main__":
    main()
