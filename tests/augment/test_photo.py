"""Claims about augment=photo: flips, brightness, contrast and color, each image by its own draws."""

from functools import partial

import pytest
import torch

from capsnet.augment import Augmentation
from capsnet.augment.photo import GRAY, Flip, Light
from capsnet.data.batches import epoch_generator


def photographs(count=200):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2


def test_a_flip_swaps_left_and_right_of_about_as_many_images_as_asked():
    images = photographs()
    flip = Flip(0.3)
    flipped = flip(images, flip.draw(200, 8, 8, torch.Generator().manual_seed(1)))
    swapped = (flipped == images.flip(3)).flatten(1).all(1)
    assert torch.equal(flipped[~swapped], images[~swapped])
    assert 0.2 < swapped.float().mean() < 0.4


@pytest.mark.parametrize("draw", [-1.0, 0.5, 1.0])
def test_each_factor_changes_what_it_is_named_after(draw):
    images, gray = photographs(), torch.tensor(GRAY).view(3, 1, 1)
    draws = torch.full((200, 3), draw)
    torch.testing.assert_close(Light(0.2, 0, 0)(images, draws), images * (1 + 0.2 * draw))
    contrasted = Light(0, 0.2, 0)(images, draws)
    torch.testing.assert_close(contrasted.mean((1, 2, 3)), images.mean((1, 2, 3)))
    torch.testing.assert_close(contrasted.std((1, 2, 3)), images.std((1, 2, 3)) * (1 + 0.2 * draw))
    colored = Light(0, 0, 0.2)(images, draws)
    torch.testing.assert_close((colored * gray).sum(1), (images * gray).sum(1))
    torch.testing.assert_close(colored[:, 0] - colored[:, 1], (images[:, 0] - images[:, 1]) * (1 + 0.2 * draw))


def test_images_stay_in_range_and_gray_ones_gray():
    augmentation = Augmentation(flip=0.5, brightness=1, contrast=1, color=1)
    for channels in (1, 3):
        images = torch.rand(50, channels, 6, 6)
        changed = augmentation(images, augmentation.draw(50, 6, 6, partial(epoch_generator, 0, 0)))
        assert changed.shape == images.shape
        assert changed.min() >= 0
        assert changed.max() <= 1
