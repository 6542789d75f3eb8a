"""Claims about elastic deformation."""

import torch

from capsnet.augment.elastic import Elastic


def test_moves_pixels_by_about_the_given_distance():
    columns = torch.arange(28.0).expand(64, 1, 28, 28) / 28  # brightness says where a pixel comes from
    elastic = Elastic(1.5)
    moved = elastic(columns, elastic.draw(64, 28, 28, torch.Generator().manual_seed(0)))
    inside = slice(9, 19)  # where nothing comes from outside the image
    distance = ((moved - columns) * 28)[:, :, inside, inside]
    assert abs(float(distance.mean())) < 0.3
    assert 0.8 < float(distance.std()) < 1.6  # smoothed between the places where it is drawn


def test_neighbors_move_alike():
    columns = torch.arange(28.0).expand(64, 1, 28, 28) / 28
    elastic = Elastic(1.5)
    moved = (elastic(columns, elastic.draw(64, 28, 28, torch.Generator().manual_seed(0))) - columns) * 28
    steps = moved[:, :, 10:18, 10:18].diff(dim=2).abs()
    assert float(steps.mean()) < 0.3 < float(moved[:, :, 10:18, 10:18].std())


def test_a_deviation_of_zero_changes_nothing():
    images, elastic = torch.rand(3, 2, 9, 7), Elastic(0)
    torch.testing.assert_close(elastic(images, elastic.draw(3, 9, 7, torch.Generator())), images)
