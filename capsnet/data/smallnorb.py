"""smallNORB: toys from many viewpoints, by two cameras."""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from .released import Release, ReleasedSource, remedy
from .source import LabelledImages

CLASS_NAMES = ("animal", "human", "airplane", "truck", "car")
SIDE = 96
TRAIN, TEST = "smallnorb-5x46789x9x18x6x2x96x96-training", "smallnorb-5x01235x9x18x6x2x96x96-testing"
KINDS = ("dat", "cat", "info")
FILES = tuple(tuple(f"{part}-{kind}.mat" for kind in KINDS) for part in (TRAIN, TEST))
# Of the compressed files, and of what is in them.
MD5 = {
    f"{TRAIN}-dat.mat": ("66054832f9accfe74a0f4c36a75bc0a2", "8138a0902307b32dfa0025a36dfa45ec"),
    f"{TRAIN}-cat.mat": ("23c8b86101fbf0904a000b43d3ed2fd9", "fd5120d3f770ad57ebe620eb61a0b633"),
    f"{TRAIN}-info.mat": ("51dee1210a742582ff607dfd94e332e3", "19faee774120001fc7e17980d6960451"),
    f"{TEST}-dat.mat": ("e4ad715691ed5a3a5f138751a4ceb071", "e9920b7f7b2869a8f1a12e945b2c166c"),
    f"{TEST}-cat.mat": ("5aa791cd7e6016cf957ce9bdb93b8603", "fd5120d3f770ad57ebe620eb61a0b633"),
    f"{TEST}-info.mat": ("a9454f3864d7fd4bb3ea7fc3eb84924e", "7c5b871cc69dcadec1bf6a18141f5edc"),
}
SERVER = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
MAGIC = {0x1E3D4C55: np.dtype("u1"), 0x1E3D4C54: np.dtype("<i4")}
FAMILIAR = {"azimuth": (30, 32, 34, 0, 2, 4), "elevation": (0, 1, 2)}
"""Views that are trained on, as the files count them: azimuths of 300 to 40 degrees; the three lowest elevations
(Hinton, Sabour & Frosst 2018, table 2)."""


class SmallNORBSource(ReleasedSource):
    """The source of `data=smallnorb`. Each image's `instance`, `elevation`, `azimuth` and `lighting` are its extras.

    Args:
        image_size: height and width, a divisor of 96: means over squares of pixels.
        views: "azimuth" or "elevation": train on the views in `FAMILIAR` alone; "all": on all.
        tested: then test "novel" views, "familiar" ones, or "all".
    """

    note = "The toys of smallNORB's test are not those of its training and validation, so they are harder."

    def __init__(self, *given: Any, image_size: int, views: str, tested: str):
        super().__init__(*given)
        self.image_size, self.views, self.tested = image_size, views, tested

    def prepare(self) -> None:
        super().prepare()
        if self.views != "all":  # then the files do not say which images are read, and their own digests are recorded
            self.sha256 = {}

    def read(self, contents: Mapping[Path, bytes]) -> list[LabelledImages]:
        arrays = {path.name: matrix(path, content) for path, content in contents.items()}
        return [self._part(*(arrays[name] for name in names), where=self.raw / names[0]) for names in FILES]

    def train(self) -> LabelledImages:
        return self._seen_from(super().train(), "familiar")

    def test(self) -> LabelledImages:
        return self._seen_from(super().test(), self.tested)

    def _part(self, images: np.ndarray, labels: np.ndarray, info: np.ndarray, where: Path) -> LabelledImages:
        count = len(images)
        if images.shape[1:] != (2, SIDE, SIDE) or labels.shape != (count,) or info.shape != (count, 4):
            shapes = f"{list(images.shape)}, {list(labels.shape)} and {list(info.shape)}"
            raise DataError(f"{where}: not pairs of images with labels and views (shapes {shapes}); {remedy(where)}")
        if labels.min() < 0 or labels.max() >= len(CLASS_NAMES):
            raise DataError(f"{where}: its labels are not from 0 to {len(CLASS_NAMES) - 1}; {remedy(where)}")
        names = ("instance", "elevation", "azimuth", "lighting")
        extras = {name: torch.from_numpy(values.astype(np.int64)) for name, values in zip(names, info.T, strict=True)}
        return LabelledImages(shrunk(images, self.image_size), torch.from_numpy(labels.astype(np.int64)), extras)

    def _seen_from(self, part: LabelledImages, views: str) -> LabelledImages:
        if self.views == "all" or views == "all":
            return part
        familiar = torch.isin(part.extras[self.views], torch.tensor(FAMILIAR[self.views]))
        return part.of((familiar if views == "familiar" else ~familiar).nonzero().flatten())


def matrix(path: Path, content: bytes) -> np.ndarray:
    """The numbers in a file of NORB's own format: magic number, dimensions, at least three sizes, then the numbers.

    Raises:
        DataError: it does not have this format.
    """
    magic, dimensions = struct.unpack("<Ii", content[:8]) if len(content) >= 20 else (0, 0)
    if magic not in MAGIC or not 1 <= dimensions <= 4:
        raise DataError(f"{path}: not a matrix of NORB's (it begins with {content[:8].hex()}); {remedy(path)}")
    head = 8 + 4 * max(3, dimensions)
    if len(content) < head:
        raise DataError(f"{path}: cut off after {len(content):,} bytes; {remedy(path)}")
    shape = struct.unpack(f"<{dimensions}i", content[8 : 8 + 4 * dimensions])
    expected = head + math.prod(shape) * MAGIC[magic].itemsize
    if min(shape) < 1 or len(content) != expected:
        raise DataError(f"{path}: {len(content):,} bytes instead of {expected:,}; {remedy(path)}")
    return np.frombuffer(content, MAGIC[magic], offset=head).reshape(shape)


def shrunk(images: np.ndarray, side: int, at_once: int = 1000) -> Tensor:
    """Means over squares of pixels, rounded.

    Args:
        images: [n, channels, height, height] uint8.
        side: of the smaller images; it divides the height.
        at_once: images, so that their means take little memory.
    """
    n, channels, height, _ = images.shape
    smaller = torch.empty(n, channels, side, side, dtype=torch.uint8)
    squares = (channels, side, height // side, side, height // side)
    for first in range(0, n, at_once):
        some = torch.from_numpy(images[first : first + at_once].astype(np.float32)).view(-1, *squares)
        smaller[first : first + at_once] = some.mean((3, 5)).round()
    return smaller


def smallnorb(
    root: str = "data",
    download: bool = True,
    mirror: str | None = None,
    image_size: int = 32,
    views: str = "all",
    tested: str = "novel",
) -> SmallNORBSource:
    """48,600 pairs of gray photographs of 50 toys in five classes (LeCun, Huang & Bottou 2004)."""
    archives = tuple((f"{name}.gz", packed) for name, (packed, _) in MD5.items())
    release = Release("smallNORB", (SERVER,), archives, FILES, {name: f"md5:{own}" for name, (_, own) in MD5.items()})
    given = (release, root, download, mirror, CLASS_NAMES)
    return SmallNORBSource(*given, image_size=image_size, views=views, tested=tested)
