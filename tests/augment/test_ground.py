"""Claims about the ground of images: movements bring in its color, not black."""

from functools import partial

import pytest
import torch

from capsnet.augment import Augmentation
from capsnet.augment.ground import ground_color
from capsnet.data.batches import epoch_generator
from capsnet.reports.distortions import DISTORTIONS

MOVING = {
    "max_shift": 4,
    "cutout_size": 9,
    "rotation": 30,
    "scaling": 0.4,
    "translation": 5,
    "elastic": 2,
    "erasing": 1,
}


def box_on(color):
    """A box in the middle of a ground of this color."""
    images = torch.tensor(color).view(1, 3, 1, 1).repeat(64, 1, 24, 24)
    images[:, :, 8:16, 8:16] = torch.tensor([0.2, 0.5, 0.4]).view(3, 1, 1)
    return images


@pytest.mark.parametrize("kind", MOVING)
def test_what_comes_in_and_what_is_blanked_has_the_color_of_the_ground(kind):
    color = (1.0, 0.9, 0.75)
    augmentation = Augmentation(**{kind: MOVING[kind]})
    draws = augmentation.draw(64, 24, 24, partial(epoch_generator, 0, 0))
    images = augmentation(box_on(color), draws)
    assert (images != box_on(color)).any()
    for channel, (ground, thing) in enumerate(zip(color, (0.2, 0.5, 0.4), strict=True)):
        assert images[:, channel].min() > thing - 1e-5
        assert images[:, channel].max() < ground + 1e-5


def test_on_black_nothing_changes_to_the_last_bit():
    images = box_on((0.0, 0.0, 0.0))
    augmentation = Augmentation(max_shift=4, rotation=20, elastic=1)
    draws = augmentation.draw(64, 24, 24, partial(epoch_generator, 0, 0))
    plain = images
    for name, kind in augmentation.kinds.items():
        plain = kind(plain, draws[name])
    assert torch.equal(augmentation(images, draws), plain)


@pytest.mark.parametrize("distortion", [one for one in DISTORTIONS if one.name != "noise"], ids=lambda one: one.name)
def test_robustness_is_measured_without_black_wedges(distortion):
    for level in distortion.levels:
        distorted = distortion.apply(box_on((1.0, 1.0, 1.0)), level, torch.Generator().manual_seed(0))
        assert distorted.min() > 0.2 - 1e-5
        assert torch.equal(ground_color(distorted), torch.ones(64, 3, 1, 1)) or distortion.name == "scaling"
