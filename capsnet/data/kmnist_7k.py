"""KMNIST-7k: a part of Kuzushiji-MNIST that comes with the project."""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .kmnist import CLASS_CHARACTERS, CLASS_NAMES, OTHER_HANDS
from .source import LabelledImages, Source

FILE = Path(__file__).with_name("files") / "kmnist_7k.npz"  # described by kmnist_7k.md beside it
SHA256 = "9e4f526f5f36e6d58db0cbae3e8e7d3ac3b31aa5749c2f620f20fdf500313f45"


class KMNIST7k(Source):
    """The first 7,011 training images of KMNIST, and 2,000 of its test images, 200 for each class."""

    class_names = CLASS_NAMES
    class_characters = CLASS_CHARACTERS
    official = True
    note = OTHER_HANDS

    def __init__(self) -> None:
        self.sha256: dict[str, str] = {}

    def prepare(self) -> None:
        """Read the file. Raises DataError if it is missing or damaged."""
        try:
            content = FILE.read_bytes()
        except OSError as error:
            raise DataError(f"{FILE}: cannot be read ({error.strerror}); install the project again") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != SHA256:
            raise DataError(f"{FILE}: damaged; install the project again")
        self._arrays = dict(np.load(io.BytesIO(content), allow_pickle=False))
        self.sha256 = {FILE.name: digest}

    def train(self) -> LabelledImages:
        return self._part("train")

    def test(self) -> LabelledImages:
        return self._part("test")

    def _part(self, part: str) -> LabelledImages:
        images, labels = self._arrays[f"{part}_images"], self._arrays[f"{part}_labels"]
        return LabelledImages(torch.as_tensor(images).unsqueeze(1), torch.as_tensor(labels).long())
