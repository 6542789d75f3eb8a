"""Claims about holding images out: each class in proportion, and no image lost."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capsnet.data.splits import connected, grouped_split, stratified_split, take_rows
from capsnet.errors import DataError


@given(seed=st.integers(0, 2**32 - 1), held_out=st.integers(10, 190))
def test_splits_each_class_in_proportion_and_loses_no_image(seed, held_out):
    labels = torch.arange(200) % 10
    stay, leave = stratified_split(labels, held_out, seed)
    assert sorted([*stay.tolist(), *leave.tolist()]) == list(range(200))
    assert len(leave) == held_out
    counts = torch.bincount(labels[leave], minlength=10)
    assert counts.max() - counts.min() <= 1


def test_a_small_class_is_on_both_sides_and_as_many_are_held_out_as_asked():
    labels = torch.tensor([0] * 500 + [1] * 500 + [2] * 4 + [3] * 2)
    for seed in range(5):
        stay, leave = stratified_split(labels, 100, seed)
        assert len(leave) == 100
        assert torch.bincount(labels[leave]).min() == 1 == torch.bincount(labels[stay]).min()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=20, max_size=60), st.integers(3, 10))
def test_groups_are_never_torn_apart(images, held_out):
    labels, groups = np.array(images).T
    out = grouped_split(labels, groups, held_out, np.random.default_rng(0).permutation(len(labels)))
    assert not set(groups[out]) & set(np.delete(groups, out))
    assert set(np.delete(labels, out)) == set(labels)


def test_one_group_is_held_out_if_it_serves_all_classes():
    labels, groups = np.arange(300) % 10, np.arange(300) // 30  # ten writers of three images of each class
    out = grouped_split(labels, groups, 24, np.arange(300))
    assert len(out) == 30


def test_things_are_connected_by_shared_keys():
    assert len(set(connected([["a"], ["b"], ["a", "c"], ["d"], ["c", "b"]]).tolist())) == 2


def test_both_sides_keep_the_order_of_the_images():
    for side in stratified_split(torch.arange(200) % 10, 60, seed=3):
        assert side.tolist() == sorted(side.tolist())


def test_too_few_images_for_every_class_are_refused():
    with pytest.raises(DataError, match="cannot hold out 3 of 200"):
        stratified_split(torch.arange(200) % 10, 3, 0)


@pytest.mark.parametrize("rows", [[], [4], [2, 3, 4], [0, 2, 5, 6], list(range(0, 5000, 3))])
def test_rows_are_taken_with_and_without_a_copy(rows):
    images = torch.arange(5000 * 2).view(5000, 1, 2)
    expected, index = images[rows].clone(), torch.tensor(rows, dtype=torch.int64)
    assert torch.equal(take_rows(images, index), expected)
    taken = take_rows(images, index, in_place=True)
    assert torch.equal(taken, expected)
    assert taken.untyped_storage().data_ptr() == images.untyped_storage().data_ptr()
