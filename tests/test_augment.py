"""Claims about augmentation, held against loops over single images."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from capsnet.augment import Augmentation, cutout, shift


def draw(augmentation, count, seed=0, height=9, width=7):
    return augmentation.draw(count, height, width, torch.Generator().manual_seed(seed))


@given(max_shift=st.integers(1, 7), channels=st.sampled_from([1, 3]), seed=st.integers(0, 100))
def test_shift_moves_every_image_by_its_own_draw_and_fills_with_zero(max_shift, channels, seed):
    images = torch.randint(1, 256, (6, channels, 9, 7), dtype=torch.uint8)
    shifts = draw(Augmentation(max_shift=max_shift), 6, seed).shifts
    expected = torch.zeros_like(images)
    for image in range(6):
        down, right = shifts[image].tolist()
        for row in range(9):
            for column in range(7):
                if 0 <= row - down < 9 and 0 <= column - right < 7:
                    expected[image, :, row, column] = images[image, :, row - down, column - right]
    moved = shift(images, shifts)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, expected)


@given(size=st.integers(1, 9), channels=st.sampled_from([1, 3]), seed=st.integers(0, 100))
def test_cutout_blanks_one_square_per_image_clipped_at_the_border(size, channels, seed):
    images = torch.randint(1, 256, (6, channels, 9, 7), dtype=torch.uint8)
    centres = draw(Augmentation(cutout_size=size), 6, seed).centres
    expected = images.clone()
    for image in range(6):
        row, column = (centre - size // 2 for centre in centres[image].tolist())
        expected[image, :, max(row, 0) : row + size, max(column, 0) : column + size] = 0
    assert torch.equal(cutout(images, centres, size), expected)


def test_shifts_reach_both_limits_and_every_value_between_about_equally():
    shifts = draw(Augmentation(max_shift=2), 10_000).shifts
    counts = torch.bincount(shifts.flatten() + 2)
    assert counts.shape == (5,)
    assert ((counts - 4000).abs() < 6 * 4000**0.5).all()  # six standard deviations of a fair draw


def test_axes_and_images_are_drawn_independently():
    shifts = draw(Augmentation(max_shift=2), 10_000).shifts.double()
    assert torch.corrcoef(shifts.T)[0, 1].abs() < 0.05
    assert torch.corrcoef(torch.stack([shifts[:-1, 0], shifts[1:, 0]]))[0, 1].abs() < 0.05


def test_no_augmentation_changes_nothing():
    images = torch.randint(0, 256, (4, 1, 9, 7), dtype=torch.uint8)
    augmentation = Augmentation()
    assert torch.equal(augmentation(images, draw(augmentation, 4)), images)
