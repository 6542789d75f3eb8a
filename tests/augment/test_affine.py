"""Affine transformations, checked where they only move pixels."""

import pytest
import torch

from capsnet.augment.affine import Affine, resample, rotation, scaling, shear

IMAGES = torch.rand(3, 2, 7, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("matrices", [rotation(torch.zeros(3)), scaling(torch.ones(3)), shear(torch.zeros(3))])
def test_nothing_changes_at_level_zero(matrices):
    torch.testing.assert_close(resample(IMAGES, matrices), IMAGES)


def test_each_image_turns_clockwise_by_its_own_angle():
    turned = resample(IMAGES, rotation(torch.tensor([0.0, 90.0, 180.0])))
    for image, quarters in enumerate((0, 1, 2)):
        expected = torch.rot90(IMAGES[image], -quarters, dims=(1, 2))
        torch.testing.assert_close(turned[image], expected, atol=1e-5, rtol=0)


def test_an_image_that_is_not_square_turns_without_being_distorted():
    image = torch.zeros(1, 1, 5, 9)
    image[0, 0, 2, 4:7] = 1  # a stroke from the middle to the right
    turned = resample(image, rotation(torch.tensor([90.0])))
    assert turned[0, 0, 2:5, 4].tolist() == pytest.approx([1, 1, 1], abs=1e-5)  # from the middle down
    assert float(turned.sum()) == pytest.approx(3, abs=1e-4)


def test_a_factor_of_two_doubles_distances_from_the_middle():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 6] = 1
    assert float(resample(image, scaling(torch.tensor([2.0])))[0, 0, 4, 8]) == pytest.approx(1, abs=1e-5)


def test_shear_moves_the_top_to_the_right_and_keeps_the_middle_row():
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, :, 2] = 1  # an upright stroke
    leaning = resample(image, shear(torch.tensor([45.0])))[0, 0]
    assert leaning.argmax(1).tolist() == [4, 3, 2, 1, 0]


def test_outside_the_image_is_black():
    smaller = resample(torch.ones(1, 1, 8, 8), scaling(torch.tensor([0.5])))
    assert smaller[0, 0, 0].tolist() == [0.0] * 8
    assert float(smaller[0, 0, 3, 3]) == 1


def test_displacements_are_where_each_pixel_comes_from():
    image = torch.zeros(1, 1, 7, 7)
    image[0, 0, 3, 3] = 1
    unchanged = torch.eye(2)[None]
    moved = resample(image, unchanged, torch.tensor([1.0, -2.0]).view(1, 1, 1, 2))
    assert moved.nonzero()[:, 2:].tolist() == [[5, 2]]  # a pixel to the left and two down


def test_random_transformations_stay_within_their_limits_and_reach_both_ends():
    affine = Affine(rotation=20, scaling=0.5, shear=0, translation=0)
    draws = affine.draw(2_000, 9, 9, torch.Generator().manual_seed(0))
    assert draws.shape == (2_000, 5)
    assert (draws.abs() <= 1).all()
    assert (draws.min(0).values < -0.99).all()
    assert (draws.max(0).values > 0.99).all()


def test_limits_of_zero_leave_images_as_they_are():
    draws = Affine(0, 0, 0, 0).draw(3, 7, 7, torch.Generator().manual_seed(0))
    torch.testing.assert_close(Affine(0, 0, 0, 0)(IMAGES, draws), IMAGES)
