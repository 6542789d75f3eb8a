"""Claims about the monitored metric, and about losses that change while a training goes on."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from conftest import digits_config, record_of, table

from capsnet import LabelledImages, MarginLoss, Source
from capsnet.errors import ConfigError
from capsnet.losses import END, AdaptedLoss, Progress, margin_loss
from capsnet.metrics.accuracy import Accuracy
from capsnet.networks.capsule_network import CapsuleNetwork
from capsnet.output import Output, Targets
from capsnet.settings.config import COMBINABLE, OPTIONS, monitor_named, monitor_of
from capsnet.training.run import train


@pytest.mark.parametrize(
    ("monitor", "name", "lower_is_better"),
    [
        (None, "val/accuracy", False),
        ("val/loss", "val/loss", True),
        ("loss", "val/loss", True),
        ("balanced_accuracy", "val/balanced_accuracy", False),
        ("calibration", "val/calibration", True),
        ("val/reconstruction_loss", "val/reconstruction_loss", True),
    ],
)
def test_losses_are_better_if_lower_and_metrics_as_their_option_says(monitor, name, lower_is_better):
    found = monitor_of(replace(digits_config(), monitor=monitor))
    assert (found.name, found.lower_is_better) == (name, lower_is_better)
    assert found.is_better(0.2, 0.1) is not lower_is_better


@pytest.mark.parametrize("monitor", ["val/loss", "balanced_accuracy"])
def test_the_best_epoch_is_the_one_with_the_best_monitored_value(tmp_path, monitor):
    results = train(digits_config(monitor=monitor, trainer__max_epochs=4), tmp_path)
    name = results.monitor
    values = [float(row[name]) for row in table(tmp_path / "metrics.csv")]
    best = min(values) if monitor == "val/loss" else max(values)
    assert results.best_epoch == values.index(best) + 1
    assert results.metrics[name] == best
    assert (record_of(tmp_path)["monitor"], record_of(tmp_path)["lower_is_better"]) == (name, monitor == "val/loss")


def test_of_epochs_with_equal_values_the_one_with_the_lowest_validation_loss_is_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(Accuracy, "compute", lambda metric: {"accuracy": 0.9})
    results = train(digits_config(optimizer__lr=0.05, trainer__max_epochs=6), tmp_path)
    losses = [float(row["val/loss"]) for row in table(tmp_path / "metrics.csv")]
    assert losses != sorted(losses, reverse=True)  # the last is not the lowest
    assert results.best_epoch == losses.index(min(losses)) + 1


def test_a_metric_that_is_not_measured_cannot_be_monitored(tmp_path):
    with pytest.raises(ConfigError, match=r"monitor=charm: is not measured; there are loss, .*accuracy"):
        train(digits_config(monitor="charm"), tmp_path)


class Tops:
    def __init__(self):
        self.right = self.images = 0

    def update(self, output, targets):
        self.right = self.right + (output.scores.argmax(1) == targets.labels).sum()
        self.images += len(targets.labels)

    def compute(self):
        return {"tops": self.right / self.images, "top_of_all": self.right / self.images}


@dataclass
class TopsOption:
    """The share of right answers, by two names."""

    def build(self):
        return Tops()


def test_a_name_that_is_no_loss_and_that_nobody_has_declared_cannot_be_monitored(tmp_path, monkeypatch):
    monkeypatch.setitem(COMBINABLE["metrics"], "tops", TopsOption)
    config = digits_config(metrics="[accuracy,tops]", monitor="top_of_all", trainer__max_epochs=1)
    with pytest.raises(ConfigError, match="monitor=top_of_all: is no loss, and no metric says whether higher is"):
        train(config, tmp_path / "unknown")
    monkeypatch.setattr(TopsOption, "also", ("top_of_all",), raising=False)
    results = train(config, tmp_path / "known")
    assert results.metrics["val/top_of_all"] == pytest.approx(results.metrics["val/accuracy"])


def test_a_task_says_which_of_its_metrics_are_better_if_lower():
    task = SimpleNamespace(monitor="angle_error", also=("class_right",), lower_is_better=("angle_error",))
    assert [monitor_named(name, task).lower_is_better for name in (None, "class_right", "val/loss")] == [
        *(True, False, True)
    ]


def test_every_chosen_metric_is_a_column_and_in_the_record(tmp_path):
    results = train(digits_config(metrics="[accuracy,f1,calibration]"), tmp_path)
    rows = table(tmp_path / "metrics.csv")
    for name in ("accuracy", "f1", "calibration"):
        assert results.metrics[f"val/{name}"] == float(rows[results.best_epoch - 1][f"val/{name}"])
        assert 0 <= results.metrics[f"test/{name}"] <= 1


def test_a_loss_knows_how_far_the_training_is_and_is_that_of_the_end_in_validation_and_test(tmp_path, monkeypatch):
    trained, scored = [], []

    @dataclass
    class Growing:
        """The margin loss, from nothing to its whole weight."""

        def build(self):
            def loss(output, targets, progress):
                (trained if torch.is_grad_enabled() else scored).append(progress)
                return {"loss": (progress.step + 1) / progress.steps * margin_loss(output.scores, targets.labels)}

            return loss

    monkeypatch.setitem(OPTIONS["loss"], "growing", Growing)
    train(digits_config(loss="growing"), tmp_path)
    steps = int(table(tmp_path / "metrics.csv")[-1]["step"])
    half = steps // 2
    assert trained == [Progress(step, steps, step // half, 2) for step in range(steps)]
    assert set(scored) == {END}


@pytest.mark.parametrize(
    "schedule", [lambda progress: progress.step / progress.steps, lambda progress: min(1, progress.epoch / 3)]
)
def test_in_validation_and_test_every_schedule_has_come_to_its_end(schedule):
    assert schedule(END) == 1


def test_a_loss_may_be_the_scalar_alone_and_its_parts_plain_numbers(tmp_path, monkeypatch):
    @dataclass
    class Plain:
        """The margin loss, from a function."""

        def build(self):
            return lambda output, target, progress: margin_loss(output.scores, target.labels)

    @dataclass
    class Parts:
        """The margin loss, and a number beside it."""

        def build(self):
            return lambda output, targets, progress: {
                "loss": margin_loss(output.scores, targets.labels),
                "weight": 0.25,
            }

    monkeypatch.setitem(OPTIONS["loss"], "plain", Plain)
    monkeypatch.setitem(OPTIONS["loss"], "parts", Parts)
    once = {"trainer__max_epochs": 1}
    plain = train(digits_config(loss="plain", **once), tmp_path / "plain").metrics
    parts = train(digits_config(loss="parts", **once), tmp_path / "parts").metrics
    assert parts["test/loss"] == plain["test/loss"] > 0
    assert parts["val/weight"] == 0.25


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"augment__mixup": 0.4}, "loss=labels_alone cannot take class probabilities"),
        ({"data__class_weights": "balanced"}, "loss=labels_alone does not look at targets.weights"),
    ],
)
def test_a_loss_that_looks_at_labels_alone_is_refused_where_more_is_asked_for(tmp_path, monkeypatch, asked, message):
    @dataclass
    class LabelsAlone:
        """The margin loss of the labels."""

        def build(self):
            return lambda output, targets, progress: {"loss": margin_loss(output.scores, targets.labels)}

    monkeypatch.setitem(OPTIONS["loss"], "labels_alone", LabelsAlone)
    with pytest.raises(ConfigError, match=message):
        train(digits_config(loss="labels_alone", **asked), tmp_path)


def test_a_loss_of_extras_may_be_asked_for_weights_and_mixtures(tmp_path, monkeypatch):
    class Halves(Source):
        class_names = ("dark", "bright")

        def train(self):
            numbers = torch.arange(40)
            images = (100 * (numbers % 2) + numbers).to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 20, 20)
            return LabelledImages(images, numbers % 2, {"number": numbers / 40})

        test = train

    @dataclass
    class HalvesOption:
        """Dark and bright images with a number each."""

        def build(self):
            return Halves()

    @dataclass
    class WithNumber:
        """The margin loss, and the mean of a number."""

        def build(self):
            margin = MarginLoss()

            def loss(output, targets, progress):
                losses = margin(output, targets, progress)
                return losses | {"loss": losses["loss"] + targets.extras["number"].mean()}

            return loss

    def forward(network, images, labels=None, forward=CapsuleNetwork.forward):
        return forward(network, images, labels)._replace(extras={"mean": images.mean((1, 2, 3))})

    monkeypatch.setattr(CapsuleNetwork, "forward", forward)
    monkeypatch.setitem(OPTIONS["data"], "halves", HalvesOption)
    monkeypatch.setitem(OPTIONS["loss"], "with_number", WithNumber)
    asked = {"data": "halves", "data__limit": None, "loss": "with_number", "trainer__max_epochs": 1}
    more = {"data__class_weights": "balanced", "augment__mixup": 0.4, "data__val_size": 8, "data__batch_size": 16}
    results = train(digits_config(**asked, **more), tmp_path)
    assert results.metrics["val/loss"] > results.metrics["val/margin_loss"]


def test_a_loss_of_one_class_an_image_says_so_where_there_are_several():
    targets = Targets(torch.tensor([[1, 2]]), torch.ones(1, 2, 1, 3, 3))
    with pytest.raises(ConfigError, match="takes one class an image"):
        AdaptedLoss(lambda output, images, labels: {"loss": output.scores.sum()})(Output(torch.rand(1, 4)), targets)


def test_a_plain_function_of_images_and_labels_is_a_loss_too():
    def plain(output, images, labels):
        return {"loss": images.mean() + labels.sum()}

    targets = Targets(torch.tensor([1, 2]), torch.ones(2, 1, 3, 3))
    assert AdaptedLoss(plain)(Output(torch.rand(2, 4)), targets)["loss"] == 1 + 3
    assert not AdaptedLoss(plain).takes_weights


def test_a_function_with_names_of_its_own_gets_targets_and_progress():
    targets = Targets(torch.tensor([1, 2]), torch.ones(2, 1, 3, 3))
    built = AdaptedLoss(lambda out, wanted, done: out.scores.sum() + wanted.labels.sum() + done.step)
    assert built(Output(torch.zeros(2, 4)), targets, Progress(5, 10, 0, 1))["loss"] == 3 + 5
