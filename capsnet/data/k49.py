"""Kuzushiji-49."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.datasets import MNIST
from torchvision.datasets.utils import download_url

from ..errors import DataError
from ..text import on_one_line
from .idx import IdxSource
from .source import LabelledImages

CLASS_CHARACTERS = tuple(
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわゐゑをんゝ"
)
CLASS_NAMES = (
    *("a", "i", "u", "e", "o", "ka", "ki", "ku", "ke", "ko", "sa", "shi", "su", "se", "so", "ta", "chi", "tsu", "te"),
    *("to", "na", "ni", "nu", "ne", "no", "ha", "hi", "fu", "he", "ho", "ma", "mi", "mu", "me", "mo", "ya", "yu", "yo"),
    *("ra", "ri", "ru", "re", "ro", "wa", "wi", "we", "wo", "n", "iteration"),
)

MD5 = {
    "k49-train-imgs.npz": "7ac088b20481cf51dcd01ceaab89d821",
    "k49-train-labels.npz": "44a8e1b893f81e63ff38d73cad420f7a",
    "k49-test-imgs.npz": "d352e201d846ce6b94f42c990966f374",
    "k49-test-labels.npz": "4da6f7a62e67a832d5eb1bd85c5ee448",
}
"""Of the official release."""


class K49(MNIST):
    """The files as torchvision describes a dataset; it has no class for this one."""

    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/k49/",)
    resources = tuple(MD5.items())

    def download(self) -> None:
        """Download the files into `raw_folder`."""
        for name, digest in MD5.items():
            download_url(self.mirrors[0] + name, self.raw_folder, name, digest)

    def _check_exists(self) -> bool:
        return True

    def _load_data(self) -> tuple[Any, Any]:
        return None, None  # `K49Source` reads the files


class K49Source(IdxSource):
    """The source of `data=k49`. Its files are NumPy's."""

    def _check_files(self) -> None:
        self._arrays = {name: _read_array(self.raw / name) for name in self.files}
        for part in ("train", "test"):
            images, labels = self._arrays[f"k49-{part}-imgs.npz"], self._arrays[f"k49-{part}-labels.npz"]
            path = self.raw / f"k49-{part}-imgs.npz"
            if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
                raise DataError(f"{path}: not images of 28x28 bytes (shape {list(images.shape)}, {images.dtype})")
            path = self.raw / f"k49-{part}-labels.npz"
            if labels.dtype != np.uint8 or labels.shape != images.shape[:1] or not len(labels):
                raise DataError(f"{path}: not a label for each of {len(images):,} images (shape {list(labels.shape)})")
            self._check_labels(path, labels)

    def _length(self, name: str) -> int:
        return len(self._arrays[name])

    def _read(self, train: bool) -> LabelledImages:
        part = "train" if train else "test"
        images, labels = self._arrays[f"k49-{part}-imgs.npz"], self._arrays[f"k49-{part}-labels.npz"]
        return LabelledImages(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels).long())


def k49(root: str = "data", download: bool = True, mirror: str | None = None) -> K49Source:
    """270,912 images of 49 hiragana in cursive script, in unbalanced classes (Clanuwat et al. 2018)."""
    digests = {name: f"md5:{digest}" for name, digest in MD5.items()}
    return K49Source(K49, root, download, mirror, CLASS_NAMES, CLASS_CHARACTERS, digests)


def _read_array(path: Path) -> np.ndarray:
    """The array in a file. Raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["arr_0"]
    except OSError as error:
        reason = error.strerror or on_one_line(error)
    except Exception as error:  # zipfile, zlib and NumPy raise errors of many kinds for damaged content
        reason = on_one_line(error)[:100]
    raise DataError(f"{path}: cannot be read ({reason}); replace it, or remove {path.parent} to download it again")
