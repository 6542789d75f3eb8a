"""CIFAR-10."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .released import Release, ReleasedSource, remedy
from .source import LabelledImages

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
BYTES = 1 + 3 * 32 * 32  # of an image with its label before it
FILES = (tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",))
# The binary version: that for Python would run code.
ARCHIVES = (("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),)
SERVER = "https://www.cs.toronto.edu/~kriz/"


class CIFAR10Source(ReleasedSource):
    """The source of `data=cifar10`."""

    def read(self, contents: Mapping[Path, bytes]) -> list[LabelledImages]:
        arrays = {path.name: _records(path, content) for path, content in contents.items()}
        parts = (np.concatenate([arrays[name] for name in names]) for names in FILES)
        return [
            LabelledImages(torch.from_numpy(part[:, 1:]).view(-1, *SHAPE), torch.from_numpy(part[:, 0]).long())
            for part in parts
        ]


def _records(path: Path, content: bytes) -> np.ndarray:
    if not content or len(content) % BYTES:
        raise DataError(f"{path}: {len(content):,} bytes are not images of {BYTES:,} bytes each; {remedy(path)}")
    records = np.frombuffer(content, np.uint8).reshape(-1, BYTES)
    if (largest := records[:, 0].max()) >= len(CLASS_NAMES):
        raise DataError(f"{path}: has label {largest}, but CIFAR-10 has the classes 0 to 9; {remedy(path)}")
    return records


def cifar10(root: str = "data", download: bool = True, mirror: str | None = None) -> CIFAR10Source:
    """60,000 color photographs of 32x32 pixels in ten classes (Krizhevsky 2009)."""
    return CIFAR10Source(Release("CIFAR10", (SERVER,), ARCHIVES, FILES), root, download, mirror, CLASS_NAMES)
