"""Street View House Numbers."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from ..text import on_one_line
from .released import Release, ReleasedSource, remedy
from .source import LabelledImages

MD5 = {"train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373", "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"}
FILES = (("train_32x32.mat",), ("test_32x32.mat",))
SERVER = "http://ufldl.stanford.edu/housenumbers/"


class SVHNSource(ReleasedSource):
    """The source of `data=svhn`."""

    def read(self, contents: Mapping[Path, bytes]) -> list[LabelledImages]:
        return [_part(path, content) for path, content in contents.items()]


def _part(path: Path, content: bytes) -> LabelledImages:
    from scipy.io import loadmat

    try:
        matrices = loadmat(io.BytesIO(content), variable_names=("X", "y"))
        images, labels = matrices["X"], matrices["y"].reshape(-1)
    except Exception as error:  # SciPy raises errors of many kinds for damaged content
        raise DataError(f"{path}: cannot be read ({on_one_line(error)[:100]}); {remedy(path)}") from error
    if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3) or images.shape[3:] != labels.shape:
        raise DataError(f"{path}: not images of 32x32x3 bytes with a label each; {remedy(path)}")
    if not np.isin(labels, range(1, 11)).all():
        raise DataError(f"{path}: its labels are not from 1 to 10; {remedy(path)}")
    digits = labels.astype(np.int64) % 10  # 10 stands for 0
    return LabelledImages(torch.from_numpy(images.transpose(3, 2, 0, 1).copy()), torch.from_numpy(digits))


def svhn(root: str = "data", download: bool = True, mirror: str | None = None) -> SVHNSource:
    """99,289 color photographs of house numbers, 32x32 pixels around a digit each (Netzer et al. 2011)."""
    release = Release("SVHN", (SERVER,), tuple(MD5.items()), FILES)
    return SVHNSource(release, root, download, mirror, tuple("0123456789"))
