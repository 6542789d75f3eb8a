"""Claims about the random choices of augmentation, and what is switched off."""

from functools import partial

import pytest
import torch

from capsnet.augment import Augmentation
from capsnet.augment.cutout import cutout
from capsnet.augment.ground import on_ground
from capsnet.augment.shift import shift
from capsnet.data.batches import epoch_generator
from capsnet.errors import ConfigError
from capsnet.settings.augment import Augment

ALL = Augment(
    max_shift=2, cutout_size=3, rotation=10, scaling=0.2, shear=10, translation=1, elastic=1, stroke=0.5, erasing=0.5
)
KINDS = {"stroke", "affine", "elastic", "shift", "cutout", "erasing"}


def draw(augmentation, count, seed=0, height=9, width=7):
    return augmentation.draw(count, height, width, partial(epoch_generator, seed, 0))


def test_every_kind_can_be_switched_on():
    assert set(ALL.build().kinds) == KINDS


def test_shifts_reach_both_limits_and_every_value_between_about_equally():
    shifts = draw(Augmentation(max_shift=2), 10_000)["shift"]
    counts = torch.bincount(shifts.flatten() + 2)
    assert counts.shape == (5,)
    assert ((counts - 4000).abs() < 6 * 4000**0.5).all()  # six standard deviations of a fair draw


def test_axes_and_images_are_drawn_independently():
    shifts = draw(Augmentation(max_shift=2), 10_000)["shift"].double()
    assert torch.corrcoef(shifts.T)[0, 1].abs() < 0.05
    assert torch.corrcoef(torch.stack([shifts[:-1, 0], shifts[1:, 0]]))[0, 1].abs() < 0.05


def test_cutout_may_be_centred_on_any_pixel():
    centres = draw(Augmentation(cutout_size=3), 2_000)["cutout"]
    assert len(centres.unique(dim=0)) == 9 * 7


def test_no_augmentation_changes_nothing():
    images = torch.rand(4, 1, 9, 7)
    augmentation = Augment().build()
    assert torch.equal(augmentation(images, draw(augmentation, 4)), images)


def test_images_are_shifted_then_cut():
    images = torch.rand(6, 1, 9, 7)
    augmentation = Augment(max_shift=2, cutout_size=3).build()
    draws = draw(augmentation, 6)
    expected = on_ground(images, lambda inner: cutout(shift(inner, draws["shift"]), draws["cutout"], 3))
    assert torch.equal(augmentation(images, draws), expected)


def test_a_seed_draws_the_same_again_and_another_draws_otherwise():
    once, again, other = (draw(ALL.build(), 50, seed) for seed in (0, 0, 1))
    assert all(torch.equal(once[kind], again[kind]) for kind in KINDS)
    assert not any(torch.equal(once[kind], other[kind]) for kind in KINDS)


def test_mixup_does_not_change_what_other_kinds_draw():
    mixed = draw(Augmentation(max_shift=2, mixup=0.4), 20)
    assert torch.equal(mixed["shift"], draw(Augmentation(max_shift=2), 20)["shift"])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_switching_another_kind_on_does_not_change_what_is_drawn(kind):
    alone = {"stroke": {"stroke": 0.5}, "affine": {"shear": 9}, "elastic": {"elastic": 1}, "shift": {"max_shift": 2}}
    alone |= {"cutout": {"cutout_size": 3}, "erasing": {"erasing": 0.5}}
    assert torch.equal(draw(Augmentation(**alone[kind]), 20)[kind], draw(ALL.build(), 20)[kind])


def test_each_image_is_augmented_by_its_own_draws_whatever_batch_it_is_in():
    images, augmentation = torch.rand(6, 3, 12, 12), ALL.build()
    draws = draw(augmentation, 6, height=12, width=12)
    whole = augmentation(images, draws)
    for rows in (slice(0, 1), slice(1, 6)):
        part = augmentation(images[rows], {kind: drawn[rows] for kind, drawn in draws.items()})
        torch.testing.assert_close(part, whole[rows])
    assert whole.shape == images.shape
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1 + 1e-6


@pytest.mark.parametrize("size", ["max_shift", "cutout_size"])
def test_a_size_larger_than_the_images_is_refused_by_its_key(size):
    Augmentation(**{size: 7}).check_fits(9, 7)
    with pytest.raises(ConfigError, match=f"augment.{size}=8: larger than the images, 9x7 pixels"):
        Augmentation(**{size: 8}).check_fits(9, 7)
