"""Claims about thicker and thinner strokes."""

import torch

from capsnet.augment.stroke import Stroke

STROKE = torch.zeros(1, 1, 9, 9)
STROKE[:, :, :, 3:6] = 1  # three pixels wide


def test_thickens_by_a_pixel_on_each_side_and_thins_by_one():
    thick, thin = (Stroke(1.0)(STROKE, torch.tensor([[sign]])) for sign in (1.0, -1.0))
    assert thick[0, 0, 4].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert thin[0, 0, 4].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_half_the_strength_adds_half_a_pixel_of_brightness():
    assert Stroke(0.5)(STROKE, torch.tensor([[1.0]]))[0, 0, 4].tolist() == [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0]


def test_each_image_has_its_own_draw_between_both_ends():
    draws = Stroke(0.5).draw(2_000, 9, 9, torch.Generator().manual_seed(0))
    assert -1 <= float(draws.min()) < -0.99
    assert 0.99 < float(draws.max()) <= 1
