"""Claims about holding images out: each class in proportion, and no image lost."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capsnet.data.splits import stratified_split
from capsnet.errors import DataError


@given(seed=st.integers(0, 2**32 - 1), held_out=st.integers(10, 190))
def test_splits_each_class_in_proportion_and_loses_no_image(seed, held_out):
    labels = torch.arange(200) % 10
    stay, leave = stratified_split(labels, held_out, seed)
    assert sorted([*stay.tolist(), *leave.tolist()]) == list(range(200))
    assert len(leave) == held_out
    counts = torch.bincount(labels[leave], minlength=10)
    assert counts.max() - counts.min() <= 1


def test_both_sides_keep_the_order_of_the_images():
    for side in stratified_split(torch.arange(200) % 10, 60, seed=3):
        assert side.tolist() == sorted(side.tolist())


def test_too_few_images_for_every_class_are_refused():
    with pytest.raises(DataError, match="cannot hold out 3 of 200"):
        stratified_split(torch.arange(200) % 10, 3, 0)
