"""Claims about what the explorer shows of a picture: it is what the network says, and what its decoder draws."""

import numpy as np
import pytest
import torch

from capsnet.data.batches import to_float
from capsnet.data.digits import Digits
from capsnet.explorer.looking import (
    BETWEEN_STEPS,
    UNCHANGED,
    WALK_STEPS,
    Change,
    abilities,
    between,
    changed,
    draw,
    is_even,
    look,
    walk,
)
from capsnet.networks.small_cnn import SmallCNN
from capsnet.runs.trained import TrainedModel, TrainingImages


@pytest.fixture(scope="module")
def pixels():
    source = Digits()
    source.prepare()
    return source.test().images[7].numpy()


def dot(row, column, value=255):
    """A black picture of 29 x 29 pixels with one that is not."""
    pixels = np.zeros((1, 29, 29), np.uint8)
    pixels[0, row, column] = value
    return pixels


def brightest(image):
    return divmod(int(image[0].argmax()), image.shape[2])


def test_a_look_gives_the_networks_own_scores_capsules_and_drawings(model, pixels):
    said = look(model, pixels)
    output = model.network(to_float(torch.from_numpy(pixels))[None])
    torch.testing.assert_close(said.scores, output.scores[0].detach())
    torch.testing.assert_close(said.capsules, output.capsules[0].detach())
    torch.testing.assert_close(said.drawings[0], output.reconstruction[0].detach())
    assert said.drawn[0] == int(said.scores.argmax())
    assert sorted(said.drawn) == list(range(10))
    for label, drawing in zip(said.drawn, said.drawings, strict=True):
        torch.testing.assert_close(draw(model, said.capsules[label][None], label)[0], drawing)


@pytest.mark.parametrize(
    ("change", "row", "column"),
    [
        (UNCHANGED, 8, 14),
        (Change(rotation=90), 14, 20),  # clockwise: from above the middle to the right of it
        (Change(right=5 / 29, down=-3 / 29), 5, 19),
        (Change(size=2), 2, 14),
        (Change(rotation=90, right=5 / 29), 14, 25),  # moved after it is turned
    ],
)
def test_a_change_moves_what_is_in_the_picture(change, row, column):
    assert brightest(changed(dot(8, 14), change)) == (row, column)


def test_what_comes_in_from_outside_looks_like_the_border():
    light = 255 - dot(8, 14)
    assert changed(light, Change(right=0.4, rotation=30)).amin() > 0.2
    torch.testing.assert_close(changed(light, Change(right=0.4))[0, :, 0], torch.ones(29))


def test_a_walk_changes_one_dimension_only(model, pixels):
    capsule = look(model, pixels).capsules[3]
    values, drawings = walk(model, capsule, 3, 5, 0.5)
    assert (len(values), values[0], values[-1]) == (WALK_STEPS, -0.5, 0.5)
    for value, drawing in zip(values, drawings, strict=True):
        moved = capsule.clone()
        moved[5] = value
        torch.testing.assert_close(draw(model, moved[None], 3)[0], drawing)
    assert not torch.equal(drawings[0], drawings[-1])


def test_the_way_between_two_capsules_begins_and_ends_with_them(model, pixels):
    first, second = look(model, pixels).capsules[3], look(model, 255 - pixels).capsules[3]
    drawings = between(model, first, second, 3)
    assert len(drawings) == BETWEEN_STEPS
    torch.testing.assert_close(drawings[0], draw(model, first[None], 3)[0])
    torch.testing.assert_close(drawings[-1], draw(model, second[None], 3)[0])
    torch.testing.assert_close(drawings[BETWEEN_STEPS // 2], draw(model, (first + second)[None] / 2, 3)[0])


def test_a_network_without_capsules_has_scores_alone(model, pixels):
    about = TrainingImages((1, 28, 28), tuple("0123456789"), (0.0, 0.0))
    plain = TrainedModel(SmallCNN((1, 28, 28), 10), about, logits=True)
    assert abilities(plain) == (None, False, False)
    assert abilities(model) == (16, True, True)
    said = look(plain, pixels)
    assert (said.capsules, said.drawings, said.drawn) == (None, None, [])
    assert float(said.scores.sum()) == pytest.approx(1)


def test_a_picture_of_one_color_is_even_and_a_faint_one_is_not(pixels):
    assert is_even(np.full((3, 28, 28), 200, np.uint8))
    assert not is_even(pixels)
    assert not is_even(dot(3, 3, 20))
