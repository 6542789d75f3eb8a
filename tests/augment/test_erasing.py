"""Claims about random erasing."""

import pytest
import torch

from capsnet.augment.erasing import AREA, ASPECT, Erasing

COUNT = 2_000


def blanks(probability, height=20, width=30):
    """Where pixels were blanked, [COUNT, height, width]."""
    erasing = Erasing(probability)
    draws = erasing.draw(COUNT, height, width, torch.Generator().manual_seed(0))
    return erasing(torch.ones(COUNT, 3, height, width), draws)[:, 0] == 0


def test_the_given_share_of_images_has_a_blank():
    share = float(blanks(0.3).flatten(1).any(1).float().mean())
    assert share == pytest.approx(0.3, abs=6 * (0.3 * 0.7 / COUNT) ** 0.5)  # six standard deviations


def test_the_blank_is_a_rectangle_of_bounded_area_and_aspect():
    for blank in blanks(1.0)[:200]:
        rows, columns = blank.any(1).sum(), blank.any(0).sum()
        assert int(blank.sum()) == int(rows * columns)
        assert AREA[0] * 600 * 0.7 <= int(rows * columns) <= AREA[1] * 600 * 1.1  # sides are whole pixels
        assert float(rows / columns) < ASPECT * 1.4
        assert float(columns / rows) < ASPECT * 1.4


def test_every_part_of_the_image_may_be_blanked():
    assert (blanks(1.0).sum(0) > 0).all()
