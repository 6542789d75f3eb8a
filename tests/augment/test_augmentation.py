"""Claims about the random choices of augmentation, and what is switched off."""

import pytest
import torch

from capsnet.augment import Augmentation
from capsnet.augment.cutout import cutout
from capsnet.augment.shift import shift
from capsnet.errors import ConfigError
from capsnet.settings.augment import Augment


def draw(augmentation, count, seed=0, height=9, width=7):
    return augmentation.draw(count, height, width, torch.Generator().manual_seed(seed))


def test_shifts_reach_both_limits_and_every_value_between_about_equally():
    shifts = draw(Augmentation(max_shift=2), 10_000).shifts
    counts = torch.bincount(shifts.flatten() + 2)
    assert counts.shape == (5,)
    assert ((counts - 4000).abs() < 6 * 4000**0.5).all()  # six standard deviations of a fair draw


def test_axes_and_images_are_drawn_independently():
    shifts = draw(Augmentation(max_shift=2), 10_000).shifts.double()
    assert torch.corrcoef(shifts.T)[0, 1].abs() < 0.05
    assert torch.corrcoef(torch.stack([shifts[:-1, 0], shifts[1:, 0]]))[0, 1].abs() < 0.05


def test_cutout_may_be_centred_on_any_pixel():
    centres = draw(Augmentation(cutout_size=3), 2_000).centres
    assert len(centres.unique(dim=0)) == 9 * 7


def test_no_augmentation_changes_nothing():
    images = torch.randint(0, 256, (4, 1, 9, 7), dtype=torch.uint8)
    augmentation = Augment().build()
    assert torch.equal(augmentation(images, draw(augmentation, 4)), images)


def test_images_are_shifted_then_cut():
    images = torch.randint(1, 256, (6, 1, 9, 7), dtype=torch.uint8)
    augmentation = Augment(max_shift=2, cutout_size=3).build()
    draws = draw(augmentation, 6)
    expected = cutout(shift(images, draws.shifts), draws.centres, 3)
    assert torch.equal(augmentation(images, draws), expected)


def test_a_seed_draws_the_same_again_and_another_draws_otherwise():
    augmentation = Augmentation(max_shift=2, cutout_size=3)
    once, again, other = (draw(augmentation, 50, seed) for seed in (0, 0, 1))
    assert all(torch.equal(*drawn) for drawn in zip(once, again, strict=True))
    assert not any(torch.equal(*drawn) for drawn in zip(once, other, strict=True))


@pytest.mark.parametrize("size", ["max_shift", "cutout_size"])
def test_a_size_larger_than_the_images_is_refused_by_its_key(size):
    Augmentation(**{size: 7}).check_fits(9, 7)
    with pytest.raises(ConfigError, match=f"augment.{size}=8: larger than the images, 9x7 pixels"):
        Augmentation(**{size: 8}).check_fits(9, 7)
