"""Claims about the pictures: what is shown where, and what is marked."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from capsnet import CapsNet, figures

NAMES = [f"class {n}" for n in range(10)]


def images_of(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_reconstructions_show_the_input_above_and_frame_the_wrong_ones():
    images, drawn = torch.full((5, 1, 6, 4), 0.25), torch.full((5, 1, 6, 4), 0.75)
    labels, predictions = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 7, 2, 3, 9])
    figure = figures.reconstructions(images, drawn, labels, predictions, NAMES, "title")
    for pixels in images_of(figure):
        assert np.allclose(pixels[:6], 0.25)
        assert np.allclose(pixels[6:], 0.75)
    framed = [axes.get_title() for axes in figure.axes if axes.spines["left"].get_visible()]
    assert framed == ["class 1 as class 7", "class 4 as class 9"]


def test_perturbations_tweak_one_dimension_per_row_from_minus_to_plus_a_quarter():
    network = CapsNet(conv_channels=4, primary_capsules=1, class_dim=3).eval()
    images, labels = torch.rand(2, 1, 28, 28), torch.tensor([3, 8])
    mosaic = torch.as_tensor(images_of(figures.perturbations(network, images, labels, NAMES, "title"))[1])
    capsules = network(images).capsules[1]
    for row, column in ((0, 0), (1, 5), (2, 10)):
        tweaked = capsules.clone()
        tweaked[8, row] += -0.25 + 0.05 * column
        expected = network.decode(tweaked.unsqueeze(0), torch.tensor([8]))[0, 0]
        tile = mosaic[row * 29 : row * 29 + 28, column * 29 : column * 29 + 28]
        torch.testing.assert_close(tile, expected.detach(), atol=1e-5, rtol=0)


def test_confusion_shows_every_count_and_the_accuracy():
    counts = torch.diag(torch.arange(1, 11))
    counts[2, 5] = 77
    figure = figures.confusion(counts, NAMES, "title")
    texts = {(text.get_position(), text.get_text()) for text in figure.axes[0].texts}
    assert ((5, 2), "77") in texts
    assert len(texts) == 11
    assert f"{55 / (55 + 77):.2%}" in figure.axes[0].get_title()


def test_curves_show_both_splits_and_the_best_epoch():
    nan = float("nan")
    metrics = {"epoch": [1, 2, 3]}
    metrics |= {"train/loss": [0.5, 0.2, 0.1], "val/loss": [0.6, nan, 0.3]}
    metrics |= {"train/accuracy": [0.5, 0.7, 0.9], "val/accuracy": [0.6, nan, 0.5]}
    loss, accuracy = figures.curves(metrics).axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(loss.lines[1].get_xdata()) == [1, 3]
    assert accuracy.lines[2].get_label() == "best: epoch 1"
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")


@pytest.mark.parametrize("characters", [None, ("\U0010ffff",)])
def test_names_stay_latin_where_no_font_has_the_characters(characters):
    assert figures.display_names(["o"], characters) == ["o"]


def test_drawing_leaves_no_figure_open():
    figures.confusion(torch.eye(3, dtype=torch.int64), NAMES[:3], "title")
    assert not plt.get_fignums()
