"""Training images split by style: whole clusters of look-alikes are held out, as test images of a dataset of their own.

    python benchmarks/styles.py RUN_DIR outputs/styles           write the dataset
    python train.py data=idx data.root=outputs/styles ...        a recipe on it: "test" means held-out styles

Test images are written by other people than training images, so images held out at random look easier than they are:
their writers are known. Here, the images of each class are clustered (k-means) by what a trained network makes of them:
the capsule of their class, or what enters the last layer of a network without capsules. Clusters are drawn until a
share of the class is held out. The official test images are not touched.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
import torch
from report import print_headline
from sklearn.cluster import KMeans
from torch import Tensor, nn

from capsnet.data.batches import to_float
from capsnet.data.source import LabelledImages
from capsnet.runs.trained import load
from capsnet.settings.parse import config_from_dict

BATCH = 250


@torch.no_grad()
def style_features(network: nn.Module, split: LabelledImages) -> np.ndarray:
    """What a network makes of each image, [n, features]."""
    entering: list[Tensor] = []
    *_, last = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
    hook = last.register_forward_pre_hook(lambda layer, inputs: entering.append(inputs[0]))
    found = []
    for images, labels in zip(split.images.split(BATCH), split.labels.split(BATCH), strict=True):
        capsules = network(to_float(images)).capsules
        found.append(entering[-1] if capsules is None else capsules[torch.arange(len(labels)), labels])
        entering.clear()
    hook.remove()
    return torch.cat(found).numpy()


def held_out_styles(features: np.ndarray, labels: np.ndarray, clusters: int, share: float, seed: int) -> np.ndarray:
    """Which images are held out, [n] bool: in every class whole clusters, until they are this share of it."""
    random, held_out = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        cluster = KMeans(clusters, n_init=3, random_state=seed).fit_predict(features[own])
        for number in random.permutation(clusters):
            if held_out[own].mean() < share:
                held_out[own[cluster == number]] = True
    return held_out


def write_dataset(folder: Path, train: LabelledImages, test: LabelledImages) -> None:
    """Four uncompressed files in MNIST's format."""
    folder.mkdir(parents=True)
    for kind, (images, labels) in (("train", train), ("t10k", test)):
        for name, values in (("images-idx3", images[:, 0]), ("labels-idx1", labels)):
            head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            (folder / f"{kind}-{name}-ubyte").write_bytes(head + values.numpy().astype(np.uint8).tobytes())


def part_of(images: LabelledImages, rows: Tensor) -> LabelledImages:
    """Those in these rows."""
    return LabelledImages(images.images[rows], images.labels[rows])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="its best checkpoint sees the styles")
    parser.add_argument("folder", type=Path, help="a new folder for the dataset")
    parser.add_argument("--data", choices=["kmnist_7k", "digits"], default="kmnist_7k")
    parser.add_argument("--clusters", type=int, default=20, help="in each class")
    parser.add_argument("--share", type=float, default=0.15, help="of each class that is held out, at least")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print_headline("cpu")
    dataset = config_from_dict({"data": {"name": arguments.data, "val_size": 0}}).data.build()
    dataset.read_training_images()
    images = dataset.train_split
    assert images is not None
    features = style_features(load(arguments.run).network.cpu(), images)
    chosen = held_out_styles(features, images.labels.numpy(), arguments.clusters, arguments.share, arguments.seed)
    held_out = torch.from_numpy(chosen)
    kept, styles = part_of(images, ~held_out), part_of(images, held_out)
    print(f"{len(styles.labels):,} of {len(images.labels):,} images held out, in clusters of like style")
    write_dataset(arguments.folder, kept, styles)
    print(f"written to {arguments.folder}: python train.py data=idx data.root={arguments.folder}")


if __name__ == "__main__":
    main()
