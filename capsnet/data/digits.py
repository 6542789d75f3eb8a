"""scikit-learn's handwritten digits: small, and installed with scikit-learn."""

import hashlib

import torch
from sklearn.datasets import load_digits

from .source import LabelledImages, Source
from .splits import stratified_split

TEST_IMAGES = 360  # of 1,797; scikit-learn has no split of its own


class Digits(Source):
    """1,797 digits (from UCI's optical recognition set), scaled from 8x8 to 28x28 pixels."""

    class_names = tuple("0123456789")
    official = True

    def __init__(self) -> None:
        self.sha256: dict[str, str] = {}

    def prepare(self) -> None:
        digits = load_digits()
        small = torch.as_tensor(digits.images, dtype=torch.float32).unsqueeze(1) * (255 / 16)
        large = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear", align_corners=False)
        images, labels = large.round().to(torch.uint8), torch.as_tensor(digits.target, dtype=torch.int64)
        # The seed is fixed here, so that every run is tested on the same images.
        train, test = stratified_split(labels, TEST_IMAGES, seed=0)
        self._train = LabelledImages(images[train], labels[train])
        self._test = LabelledImages(images[test], labels[test])
        self.sha256 = {"digits": hashlib.sha256(digits.data.tobytes() + digits.target.tobytes()).hexdigest()}

    def train(self) -> LabelledImages:
        return self._train

    def test(self) -> LabelledImages:
        return self._test
