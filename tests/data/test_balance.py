"""Claims about classes of different sizes."""

import pytest
import torch

from capsnet.data.balance import are_unbalanced, balanced_weights


def test_are_unbalanced_if_one_has_half_as_many_again_as_another():
    assert not are_unbalanced([100, 150, 120])
    assert are_unbalanced([100, 151])
    assert are_unbalanced([0, 1])


@pytest.mark.parametrize("counts", [[3, 5, 12], [4, 4], [0, 7, 1]])
def test_with_balanced_weights_all_classes_count_the_same_and_an_image_one_on_average(counts):
    counts = torch.tensor(counts)
    of_classes = balanced_weights(counts) * counts
    assert len(of_classes[counts > 0].unique()) == 1
    assert float(of_classes.sum()) == pytest.approx(float(counts.sum()))
