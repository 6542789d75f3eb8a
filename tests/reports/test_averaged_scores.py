"""Claims about scores that are averaged over shifts of the images."""

import pytest
import torch
from torch import nn

from capsnet import Output
from capsnet.errors import ConfigError
from capsnet.reports.averaged_scores import class_scores
from capsnet.tasks.classify import Classify


class Linear(nn.Module):
    """Scores that are a linear function of the pixels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 5 * 6))

    def forward(self, images, labels=None):
        return Output(images.flatten(1) @ self.weight.T)


def by_hand(images, down, right):
    """Images moved by whole pixels, with the median of its border around each."""
    on_border = torch.ones(5, 6, dtype=torch.bool)
    on_border[1:-1, 1:-1] = False
    borders = images[:, 0, on_border].sort(1).values  # 18 values
    moved = borders[:, 8, None, None, None].expand_as(images).clone()
    for y in range(5):
        for x in range(6):
            if 0 <= y - down < 5 and 0 <= x - right < 6:
                moved[:, :, y, x] = images[:, :, y - down, x - right]
    return moved


def test_are_the_mean_over_all_shifts_up_to_so_many_pixels():
    network, images = Linear(), torch.rand(4, 1, 5, 6)
    batches = [(images[:3], None), (images[3:], None)]
    steps = range(-2, 3)
    expected = sum(network(by_hand(images, y, x)).scores for y in steps for x in steps) / 25
    torch.testing.assert_close(class_scores(network, batches, Classify(), logits=False, shifts=2), expected.detach())


def test_without_shifts_are_the_scores_and_of_logits_the_probabilities():
    network, images = Linear(), torch.rand(4, 1, 5, 6)
    scores = network(images).scores.detach()
    torch.testing.assert_close(class_scores(network, [(images, None)], Classify(), logits=False), scores)
    torch.testing.assert_close(class_scores(network, [(images, None)], Classify(), logits=True), scores.softmax(1))


def test_a_shift_that_leaves_nothing_of_the_image_is_refused():
    with pytest.raises(ConfigError, match="shifts=5: the images have only 5x6 pixels"):
        class_scores(Linear(), [(torch.rand(1, 1, 5, 6), None)], Classify(), logits=False, shifts=5)
