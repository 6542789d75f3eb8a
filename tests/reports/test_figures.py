"""Claims about the figures: what is shown where, what is marked, and that nothing is cut off or exaggerated."""

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from capsnet.reports import figures
from capsnet.settings.config import Monitor

NAMES = [f"class {n}" for n in range(10)]
LONG_NAMES = [f"a rather long name {n}" for n in range(10)]
LONG_TITLE = "a dataset with a name that is much longer than anyone would like (not the official files)"
NAN = float("nan")
METRICS = {
    "epoch": [1, 2, 3],
    "train/loss": [0.5, 0.2, 0.1],
    "val/loss": [0.6, NAN, 0.3],
    "train/accuracy": [0.5, 0.7, 0.9],
    "val/accuracy": [0.6, NAN, 0.5],
}


def texts_of(figure):
    """All that is written in the axes and around them, line breaks as spaces."""
    texts = [text for axes in figure.axes for text in axes.texts] + figure.texts
    return [" ".join(text.get_text().split()) for text in texts]


def linear_decoder(classes, dim, image_shape):
    """Images that are a linear function of the chosen class's capsule, in [0, 1]."""
    layer = torch.nn.Linear(classes * dim, int(np.prod(image_shape)))

    def decode(capsules, labels):
        chosen = torch.nn.functional.one_hot(labels, classes).unsqueeze(2) * capsules
        return layer(chosen.flatten(1)).sigmoid().view(-1, *image_shape)

    return decode


def draw_reconstructions(images, drawn, wrong=(), names=NAMES, title="title"):
    labels = torch.arange(len(images)) % 10
    predictions = labels.clone()
    for index in wrong:
        predictions[index] = (labels[index] + 5) % 10
    return figures.reconstructions(images, drawn, labels, predictions, names, title)


def draw_perturbations(panels=2, dim=3, names=NAMES, title="title"):
    decode, capsules = linear_decoder(10, dim, (1, 7, 5)), torch.rand(panels, 10, dim) / dim
    return figures.perturbations(decode, capsules, torch.arange(panels), names, title)


ACCURACY, LOSS = Monitor("val/accuracy", lower_is_better=False), Monitor("val/loss", lower_is_better=True)


def sweep_panels(values, by_size=(), metric=ACCURACY):
    return figures.sweep_panels(values, by_size, metric)


def test_curves_show_both_splits_and_the_best_epoch():
    loss, accuracy = figures.curves(METRICS, ACCURACY).axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert list(loss.lines[1].get_xdata()) == [1, 3]
    assert list(accuracy.lines[0].get_ydata()) == [0.5, 0.7, 0.9]
    assert accuracy.lines[2].get_label() == "best: epoch 1"
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")


def test_curves_show_the_monitored_metric_with_plain_numbers_if_it_is_no_share():
    metrics = METRICS | {"train/moves_seen": [9.0, 8.0, 7.5], "val/moves_seen": [9.0, 7.0, 8.0]}
    _, axes = figures.curves(metrics, Monitor("val/moves_seen", lower_is_better=True)).axes
    assert (axes.get_ylabel(), axes.get_title(loc="left")) == ("moves seen", "Moves seen")
    assert axes.lines[2].get_label() == "best: epoch 2"
    assert max(axes.get_ylim()) > 9
    assert axes.yaxis.get_major_formatter()(8.0) != "800%"


def test_where_the_loss_is_monitored_its_curve_has_the_best_epoch_and_it_may_be_the_only_one():
    loss, accuracy = figures.curves(METRICS, LOSS).axes
    assert loss.lines[2].get_label() == "best: epoch 3"
    assert len(accuracy.lines) == 2
    (loss,) = figures.curves({"epoch": [1, 2], "train/loss": [0.5, 0.2]}, LOSS).axes
    assert loss.get_ylabel() == "loss"


@pytest.mark.parametrize("epochs", [1, 2, 7, 300])
def test_only_whole_epochs_from_the_first_to_the_last_are_ticks(epochs):
    metrics = {"epoch": list(range(1, epochs + 1)), "train/loss": [0.5] * epochs, "val/accuracy": [0.5] * epochs}
    for axes in figures.curves(metrics, ACCURACY).axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks
        assert all(tick == round(tick) and 1 <= tick <= epochs for tick in ticks)


@pytest.mark.parametrize(("losses", "scale"), [([1.0, 0.1, 0.01], "log"), ([1.0, 0.1, 0.0], "linear")])
def test_the_loss_axis_is_logarithmic_only_where_every_loss_is_positive(losses, scale):
    assert figures.curves(METRICS | {"train/loss": losses}, ACCURACY).axes[0].get_yscale() == scale


def test_of_epochs_with_equal_accuracy_the_one_with_less_loss_is_marked():
    equal = {"epoch": [1, 2, 3], "val/accuracy": [0.98, 0.98, 0.98], "val/loss": [0.2, 0.1, 0.3]}
    _, axes = figures.curves(equal, ACCURACY).axes
    assert [line.get_label() for line in axes.lines if "best" in str(line.get_label())] == ["best: epoch 2"]


def test_images_of_two_channels_are_drawn_as_their_mean():
    images = torch.rand(1, 2, 8, 8)
    figure = figures.mistakes(images, torch.tensor([0]), torch.tensor([1]), torch.tensor([0.5]), NAMES, "title", (1, 9))
    shown = max((image.get_array() for axes in figure.axes for image in axes.images), key=lambda array: array.size)
    assert abs(float(shown.max()) - float(images.mean(1).max())) < 1e-6


def test_the_accuracy_axis_has_no_tick_above_100_percent():
    axes = figures.curves(
        METRICS | {"train/accuracy": [0.99, 1.0, 1.0], "val/accuracy": [0.99, 1.0, 1.0]}, ACCURACY
    ).axes[1]
    assert max(tick for tick in axes.get_yticks() if tick <= axes.get_ylim()[1]) <= 1


def test_curves_of_which_nothing_was_measured_are_empty():
    unmeasured = {key: [NAN] * 3 for key in METRICS if key != "epoch"}
    assert not any(axes.lines for axes in figures.curves(METRICS | unmeasured, ACCURACY).axes)


def test_confusion_shows_every_count_and_the_accuracy():
    counts = torch.diag(torch.arange(1, 11))
    counts[2, 5] = 77
    figure = figures.confusion(counts, NAMES, "title")
    texts = {(text.get_position(), text.get_text()) for text in figure.axes[0].texts}
    assert ((5, 2), "77") in texts
    assert len(texts) == 11
    assert any(f"{55 / (55 + 77):.2%} correct" in text for text in texts_of(figure))


def test_confusion_shades_by_the_share_of_the_right_class_and_of_no_images_claims_no_accuracy():
    figure = figures.confusion(torch.tensor([[3, 1], [0, 100]]), NAMES[:2], "title")
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(np.square(shown), [[0.75, 0.25], [0, 1]], atol=1e-6)
    assert not any("%" in text for text in texts_of(figures.confusion(torch.zeros(2, 2).long(), NAMES[:2], "title")))


def test_confusion_of_49_classes_names_them_all_legibly_and_writes_no_counts():
    names = [f"name {n}" for n in range(49)]
    figure = figures.confusion(torch.eye(49, dtype=torch.int64), names, "title")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert not axes.texts
    for labels, first, last in (
        (axes.get_xticklabels(), "x0", "x1"),
        (axes.get_yticklabels()[::-1], "y0", "y1"),
    ):
        assert sorted(label.get_text() for label in labels) == sorted(names)
        assert min(label.get_fontsize() for label in labels) >= 5
        boxes = [label.get_window_extent() for label in labels]
        for box, following in itertools.pairwise(boxes):
            assert getattr(box, last) <= getattr(following, first)


def test_many_classes_are_listed_the_worst_and_the_most_frequent_confusions_first():
    names, counts = [f"name {n}" for n in range(200)], torch.eye(200, dtype=torch.int64) * 10
    counts[7, 3], counts[150, 9], counts[150, 150] = 30, 12, 0
    figure = figures.confusion(counts, names, "title")
    _, _, worst, frequent = figure.axes
    assert [label.get_text() for label in worst.get_yticklabels()][:2] == ["name 150", "name 7"]
    assert [text.get_text() for text in worst.texts][:2] == ["0% of 12", "25% of 40"]
    assert [label.get_text() for label in frequent.get_yticklabels()] == ["name 7 as name 3", "name 150 as name 9"]
    assert [text.get_text() for text in frequent.texts] == ["30", "12"]


def draw_mistakes(count, names=NAMES, title="title", shape=(1, 9, 9)):
    labels = torch.arange(count) % 10
    given = (torch.rand(count, *shape), labels, (labels + 1) % 10, torch.linspace(1, 0, count), names, title)
    return figures.mistakes(*given, (count + 5, 1000))


def test_mistakes_name_the_true_class_the_predicted_one_and_its_score():
    figure = draw_mistakes(3)
    assert len(figure.axes[0].images) == 3
    assert [text.get_text() for text in figure.axes[0].texts][:4] == [
        *(NAMES[0], f"as {NAMES[1]}  1.00"),
        *(NAMES[1], f"as {NAMES[2]}  0.50"),
    ]
    assert any("8 of 1,000 images, of which the 3 most certain are shown" in text for text in texts_of(figure))
    empty = torch.zeros(0, dtype=torch.int64)
    figure = figures.mistakes(torch.zeros(0, 1, 9, 9), empty, empty, empty, NAMES, "title", (0, 50))
    assert any("None among 50 images" in text for text in texts_of(figure))


def test_names_have_their_characters_where_a_font_has_them_and_else_stay_latin_or_are_code_points():
    assert figures.display_names(["alpha", "beta"], ("α", "β")) == ["α alpha", "β beta"]
    assert figures.display_names(["ascii", "αβ"], None) == ["ascii", "αβ"]
    assert figures.display_names(["o"], ("\U0010ffff",)) == ["o"]
    assert figures.display_names(["a\U0010fffd", "b"], None) == ["aU+10FFFD", "b"]


def test_reconstructions_show_the_input_above_the_reconstruction():
    images, drawn = torch.rand(15, 1, 6, 4), torch.rand(15, 1, 6, 4)
    shown = draw_reconstructions(images, drawn).axes[0].images
    assert len(shown) == 30
    for index, (above, below) in enumerate(zip(shown[::2], shown[1::2], strict=True)):
        np.testing.assert_array_equal(above.get_array(), images[index, 0])
        np.testing.assert_array_equal(below.get_array(), drawn[index, 0])
        left, right, bottom, _ = above.get_extent()  # counted from the top
        assert below.get_extent()[:2] == [left, right]
        assert 0 <= below.get_extent()[3] - bottom < 10


def test_reconstructions_frame_and_name_the_misclassified_images():
    images = torch.rand(15, 1, 6, 4)
    figure = draw_reconstructions(images, images, wrong=(1, 14))
    axes = figure.axes[0]
    frames = [patch.get_bbox() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert len(frames) == 2
    for frame, index in zip(frames, (1, 14), strict=True):
        left, right, _, top = axes.images[2 * index].get_extent()
        _, _, bottom, _ = axes.images[2 * index + 1].get_extent()
        assert frame.x0 < left
        assert frame.x1 > right
        assert frame.y0 < top
        assert frame.y1 > bottom
    assert [text for text in texts_of(figure) if " as " in text] == ["class 1 as class 6", "class 4 as class 9"]
    assert any("2 of 15 misclassified (framed)" in text for text in texts_of(figure))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 14)])
def test_every_pixel_of_an_image_becomes_a_square_of_one_size(shape, tmp_path):
    images = torch.rand(3, *shape)
    figure = draw_reconstructions(images, images, wrong=(1,))
    page = imread(io.BytesIO(figures.save(figure, tmp_path / "figure.png")), format="png")
    for image, shown in zip(images.repeat_interleave(2, 0), figure.axes[0].images, strict=True):
        left, right, bottom, top = map(int, shown.get_extent())
        size = (right - left) // shape[2]
        squares = image.expand(3, -1, -1).repeat_interleave(size, 1).repeat_interleave(size, 2).movedim(0, -1)
        # Two steps of the file's 8 bits: the colour map and the file each round.
        np.testing.assert_allclose(page[top:bottom, left:right, :3], squares, atol=2 / 255)


@pytest.mark.parametrize("length", [0.8, 6.0])
def test_perturbations_tweak_one_dimension_per_row_by_a_quarter_of_a_long_capsule_the_strongest_first(length):
    decode, labels = linear_decoder(10, 8, (1, 7, 5)), torch.tensor([3, 8])
    capsules, step = length * torch.nn.functional.normalize(torch.rand(2, 10, 8), dim=2), 0.05 * max(1, length)
    figure = figures.perturbations(decode, capsules, labels, NAMES, "title")
    mosaic = torch.as_tensor(figure.axes[0].images[1].get_array())
    assert mosaic.shape == (6 * 8 - 1, 11 * 6 - 1)

    def effect(dimension):
        ends = capsules[1:].repeat(2, 1, 1)
        ends[:, 8, dimension] += torch.tensor([-5, 5]) * step
        first, last = decode(ends, torch.tensor([8, 8]))
        return float((last - first).abs().detach().sum())

    strongest = sorted(range(8), key=effect, reverse=True)[:6]
    numbers = [
        text.get_text() for text in figure.axes[0].texts if text.get_text().isdecimal() and text.get_ha() == "right"
    ]
    assert numbers[6:] == [str(dimension + 1) for dimension in strongest]
    for row, dimension in enumerate(strongest):
        for column in range(11):
            tweaked = capsules[1:].clone()
            tweaked[0, 8, dimension] += (column - 5) * step
            expected = decode(tweaked, torch.tensor([8]))[0, 0].detach()
            tile = mosaic[row * 8 : row * 8 + 7, column * 6 : column * 6 + 5]
            torch.testing.assert_close(tile, expected, atol=1e-5, rtol=0)


def test_perturbations_name_classes_dimensions_and_amounts_and_frame_the_column_that_is_unchanged():
    figure = draw_perturbations(panels=2, dim=3)
    assert {"class 0", "class 1", "1", "2", "3", "−0.25", "0", "+0.25"} <= set(texts_of(figure))
    (axes,) = figure.axes
    left, right, _, _ = axes.images[0].get_extent()
    frame = axes.patches[0].get_bbox()
    image_pixel = (right - left) / (11 * 6 - 1)  # tiles are 5 wide, with a gap of 1
    assert left + 29 * image_pixel < frame.x0 < left + 30 * image_pixel
    assert left + 35 * image_pixel < frame.x1 < left + 36 * image_pixel


def test_perturbations_draw_ten_panels_at_most():
    decode = linear_decoder(12, 2, (3, 5, 5))
    names = [f"class {n}" for n in range(12)]
    figure = figures.perturbations(decode, torch.rand(12, 12, 2), torch.arange(12), names, "title")
    assert len(figure.axes[0].images) == 10


def dots_of(axes):
    return sorted((x, y) for line in axes.lines if line.get_marker() == "o" for x, y in line.get_xydata().tolist())


def joining_lines(axes):
    return [line for line in axes.lines if line.get_linestyle() != "None"]


def error_bars(axes):
    return [bar.tolist() for container in axes.containers for bar in container.lines[2][0].get_segments()]


def test_a_sweep_of_networks_of_several_sizes_shows_mean_test_accuracy_over_parameters():
    by_size = [figures.Group("big", 8_000_000, [0.9, 0.92]), figures.Group("small", 160_000, [0.95])]
    axes = sweep_panels({"model": {"big": [0.95, 0.96], "small": [0.97]}}, by_size).axes[1]
    assert axes.get_xlabel() == "parameters"
    assert axes.get_xscale() == "log"
    (points, _, _) = axes.containers[0]
    assert list(points.get_xdata()) == [8_000_000, 160_000]
    assert list(points.get_ydata()) == pytest.approx([0.91, 0.95])
    assert {text.get_text() for text in axes.texts} == {"big", "small"}
    two_seeds, one_seed = error_bars(axes)
    assert (len(two_seeds), len(one_seed)) == (2, 0)  # ends of the bar
    same = [figures.Group(name, size, [0.9]) for name, size in (("a", 1_573_008), ("b", 1_573_168))]
    assert len(sweep_panels({"lr": {"1": [0.5], "2": [0.6]}}, same).axes) == 1


@pytest.mark.parametrize(("metric", "best", "worst"), [(ACCURACY, 29, 0), (LOSS, 0, 29)])
def test_labels_of_sizes_keep_their_distance_stay_inside_and_are_those_of_the_best(metric, best, worst):
    by_size = [figures.Group(f"network {number}", 1000 + 100 * number, [0.5 + number / 100]) for number in range(30)]
    axes = sweep_panels({"model": {"a": [0.5]}}, by_size, metric).axes[1]
    labels = [text.get_text() for text in axes.texts]
    assert f"network {best}" in labels
    assert f"network {worst}" not in labels
    heights = sorted(text.xyann[1] for text in axes.texts)
    assert min(after - before for before, after in itertools.pairwise(heights)) > 0.06
    assert 0 <= heights[0] < heights[-1] <= 1


@pytest.mark.parametrize(
    ("metric", "label", "label_of_sizes"),
    [
        ("val/accuracy", "best validation accuracy", "test accuracy"),
        ("val/balanced_accuracy", "best validation balanced accuracy", "test balanced accuracy"),
    ],
)
def test_the_axes_of_a_sweep_say_which_metric_they_show(metric, label, label_of_sizes):
    by_size = [figures.Group("a", 1000, [0.9]), figures.Group("b", 2000, [0.8])]
    figure = sweep_panels({"iters": {"1": [0.5], "3": [0.6]}}, by_size, Monitor(metric, lower_is_better=False))
    assert [axes.get_ylabel() for axes in figure.axes] == [label, label_of_sizes]


@pytest.mark.parametrize(("metric", "values"), [(LOSS, [0.0312, 0.0313]), (Monitor("val/seen", False), [4.0, 250.0])])
def test_what_is_no_share_has_an_axis_of_plain_numbers_that_fits_it(metric, values):
    figure = sweep_panels({"seed": {str(seed): [value] for seed, value in enumerate(values)}}, metric=metric)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    assert not any("%" in label.get_text() for label in axes.get_yticklabels())
    assert "%" not in axes.get_title(loc="left")
    low, high = axes.get_ylim()
    assert low < min(values) < max(values) < high < 2 * max(values)


def test_sizes_of_one_order_of_magnitude_have_a_linear_axis_with_ticks():
    by_size = [figures.Group("a", 1_573_008, [0.9]), figures.Group("b", 2_132_592, [0.8])]
    axes = sweep_panels({"model": {"a": [0.9], "b": [0.8]}}, by_size).axes[1]
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "linear"
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 2


def test_a_sweep_has_a_title_and_says_what_the_dots_are():
    figure = sweep_panels({"optimizer.lr": {"0.1": [0.5, 0.6], "0.2": [0.7]}})
    title, caption = texts_of(figure)
    assert "optimizer.lr" in title
    assert "3 jobs, one dot each" in caption
    assert figure.axes[0].get_ylabel() == "best validation accuracy"
    assert figure.axes[0].yaxis.get_major_formatter()(0.985) == "98.5%"


def test_two_numbers_are_enough_for_a_numeric_axis():
    axes = sweep_panels({"iters": {"1": [0.5, 0.6], "3": [0.7]}}).axes[0]
    assert dots_of(axes) == [(1, 0.5), (1, 0.6), (3, 0.7)]
    assert axes.get_xscale() == "linear"
    assert list(axes.get_xticks()) == [1, 3]


@pytest.mark.parametrize(
    ("values", "scale"),
    [(("0.001", "0.1"), "log"), (("1", "10"), "linear"), (("0", "0.001", "0.1"), "linear"), (("-1", "100"), "linear")],
)
def test_the_axis_is_logarithmic_where_positive_values_span_more_than_a_factor_of_ten(values, scale):
    axes = sweep_panels({"lr": {value: [0.5] for value in values}}).axes[0]
    assert axes.get_xscale() == scale


def test_text_values_stand_side_by_side_in_the_given_order_and_are_never_joined():
    axes = sweep_panels({"routing": {"em": [0.5, 0.6], "dynamic": [0.7, 0.8], "1e9$x$": [0.9]}}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["em", "dynamic", "1e9$x$"]
    assert [x for x, _ in dots_of(axes)] == [0, 0, 1, 1, 2]
    assert not joining_lines(axes)


def test_bars_are_mean_and_standard_deviation_of_the_jobs_that_share_a_value():
    axes = sweep_panels({"iters": {"1": [0.5, 0.6, 0.8], "2": [0.7]}}).axes[0]
    mean, deviation = np.mean([0.5, 0.6, 0.8]), np.std([0.5, 0.6, 0.8], ddof=1)
    np.testing.assert_allclose(error_bars(axes), [[[1, mean - deviation], [1, mean + deviation]]])


def test_a_line_joins_the_means_of_repeated_numbers_but_not_the_jobs_of_a_search():
    (line,) = joining_lines(sweep_panels({"iters": {"1": [0.5, 0.7], "3": [0.8, 0.9]}}).axes[0])
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.6], [3, 0.85]])
    for repeated in ([0.7], [0.7, 0.8]):  # even where two happen to share a value
        assert not joining_lines(sweep_panels({"lr": {"0.1": [0.5], "0.2": repeated, "0.3": [0.6]}}).axes[0])


@pytest.mark.parametrize("jobs", [1, 2])
def test_seeds_are_not_joined_but_have_a_band_of_mean_and_standard_deviation(jobs):
    means = [0.5, 0.6, 0.8]
    by_seed = {str(seed): [mean - 0.01, mean + 0.01][:jobs] for seed, mean in zip((0, 7, 42), means, strict=True)}
    axes = sweep_panels({"seed": by_seed}).axes[0]
    assert [x for x, _ in dots_of(axes)] == sorted([0, 1, 2] * jobs)  # side by side: 7 is no nearer to 0 than 42
    assert not joining_lines(axes)
    assert not error_bars(axes)
    (band,) = axes.patches
    of_seeds = [np.mean(accuracies) for accuracies in by_seed.values()]
    edges = np.mean(of_seeds) + np.array([-1, 1]) * np.std(of_seeds, ddof=1)
    np.testing.assert_allclose((band.get_bbox().y0, band.get_bbox().y1), edges)
    assert "mean ± sd over 3 seeds" in axes.get_title(loc="left")


@pytest.mark.parametrize("accuracies", [[0.981, 0.982], [1.0, 1.0], [0.0, 0.001]])
@pytest.mark.parametrize("key", ["seed", "lr"])
def test_the_accuracy_axis_spans_two_percentage_points_at_least_and_nothing_impossible(key, accuracies):
    by_value = {str(value): [accuracy] for value, accuracy in enumerate(accuracies)}
    low, high = sweep_panels({key: by_value}).axes[0].get_ylim()
    assert high - low >= 0.02 - 1e-9
    assert 0 <= low <= min(accuracies)
    assert max(accuracies) <= high <= 1


def test_the_accuracy_axis_spans_four_standard_deviations_at_least():
    low, high = sweep_panels({"lr": {"1": [0.55]}, "seed": {"0": [0.5], "1": [0.6]}}).axes[0].get_ylim()
    assert high - low >= 4 * np.std([0.5, 0.6], ddof=1) - 1e-9


def test_all_panels_share_one_accuracy_axis_that_holds_every_dot_and_bar():
    figure = sweep_panels(
        {"lr": {"0.1": [0.2, 0.25], "0.2": [0.3]}, "seed": {"0": [0.9], "1": [0.1]}, "a": {"x": [0.4, 0.8], "y": [0.5]}}
    )
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    low, high = figure.axes[0].get_ylim()
    for axes in figure.axes:
        heights = [y for _, y in dots_of(axes)] + [y for bar in error_bars(axes) for _, y in bar]
        assert all(low <= y <= high for y in heights)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.curves(METRICS | {"train/loss": [1e-5, 2e-5, 3e-5]}, ACCURACY),
        lambda: figures.confusion(torch.eye(10).long() * 10**6, LONG_NAMES, LONG_TITLE),
        lambda: figures.confusion(torch.eye(120).long(), [f"long name {n}" for n in range(120)], LONG_TITLE),
        lambda: figures.confusion(torch.ones(25, 25).long(), [f"{'long' * 9} name {n}" for n in range(25)], LONG_TITLE),
        lambda: draw_mistakes(40, LONG_NAMES, LONG_TITLE),
        lambda: draw_mistakes(1, LONG_NAMES, LONG_TITLE, (3, 80, 40)),
        lambda: draw_reconstructions(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), (0,), LONG_NAMES, LONG_TITLE),
        lambda: draw_reconstructions(torch.rand(13, 3, 90, 60), torch.rand(13, 3, 90, 60), (0, 11), LONG_NAMES),
        lambda: draw_perturbations(panels=1, dim=4, names=LONG_NAMES, title=LONG_TITLE),
        lambda: sweep_panels({"a.very.long.key.of.a.setting" * 2: {"x" * 50: [0.5], "y$" * 25: [0.6]}}),
        lambda: sweep_panels({key: {"a": [0.5], "b": [0.6]} for key in ("k$1", "k2", "k3", "k4")}),
    ],
)
def test_nothing_is_cut_off(draw):
    figure = draw()
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1e-6  # inches, rounded


def test_save_returns_the_bytes_that_it_wrote(tmp_path):
    path = tmp_path / "figure.png"
    png = figures.save(figures.curves(METRICS, ACCURACY), path)
    assert path.read_bytes() == png
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    height, width, _ = imread(io.BytesIO(png), format="png").shape
    assert (width, height) == (1500, 600)  # 10 x 4 inches


def test_the_font_cache_is_built_without_a_word_in_the_log_and_without_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))  # has no font cache yet
    code = (
        "import logging, sys; logging.basicConfig(level=logging.INFO); from capsnet.reports import figures;"
        "assert 'matplotlib.font_manager' in sys.modules; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fontManager" not in done.stderr
    assert list(tmp_path.glob("fontlist*"))


def test_a_comparison_says_which_accuracy_was_not_measured():
    trained = {"train/accuracy": [0.5, 0.6, 0.7, 0.8]}
    seldom = trained | {"val/accuracy": [float("nan")] * 3 + [0.7]}
    for metrics, texts in ((trained, ["not measured"]), (seldom, [])):
        validation, training, *_ = figures.comparison({"a": [metrics]}, {"a": []}, {}, ACCURACY).axes
        assert [text.get_text() for text in validation.texts] == texts
        assert not training.texts


def test_a_comparison_draws_the_curves_of_the_monitored_metric():
    metrics = {"train/loss": [3.0, 2.0, 1.5, 1.2], "val/loss": [9.0, 2.5, 2.0, 1.0], "val/accuracy": [0.5] * 4}
    validation, training, *_ = figures.comparison({"a": [metrics]}, {"a": []}, {}, LOSS).axes
    assert [axes.get_title(loc="left") for axes in (validation, training)] == ["Validation loss", "Training loss"]
    assert list(validation.lines[0].get_ydata()) == [9.0, 2.5, 2.0, 1.0]
    low, high = validation.get_ylim()
    assert low < 1.0 < 2.5 < high < 9.0  # the first quarter of the epochs does not count
    assert validation.yaxis.get_major_formatter()(2.0) != "200%"
