"""Claims about scikit-learn's digits."""

import torch
from sklearn.datasets import load_digits

from capsnet.data.digits import Digits


def prepared():
    digits = Digits()
    digits.prepare()
    return digits


def test_digits_are_scikit_learns_at_28x28_with_a_fixed_test_set():
    digits = prepared()
    train, test = digits.train(), digits.test()
    assert len(train.labels) + len(test.labels) == 1797
    assert torch.equal(
        torch.cat([train.labels, test.labels]).bincount(), torch.as_tensor(load_digits().target).bincount()
    )
    assert train.images.shape[1:] == (1, 28, 28)
    assert train.images.dtype == torch.uint8
    assert train.images.max() == 255
    assert torch.equal(prepared().test().images, test.images)
    assert prepared().sha256 == digits.sha256
