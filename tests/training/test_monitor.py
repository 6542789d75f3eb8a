"""Claims about the monitored metric, and about losses that change while a training goes on."""

from dataclasses import dataclass, replace

import pytest
import torch
from conftest import digits_config, record_of, table

from capsnet.errors import ConfigError
from capsnet.losses import END, AdaptedLoss, Progress, margin_loss
from capsnet.metrics.accuracy import Accuracy
from capsnet.output import Output, Targets
from capsnet.settings.config import OPTIONS, monitor_of
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
    assert record_of(tmp_path)["monitor"] == name


def test_of_epochs_with_equal_values_the_one_with_the_lowest_validation_loss_is_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(Accuracy, "compute", lambda metric: {"accuracy": 0.9})
    results = train(digits_config(optimizer__lr=0.05, trainer__max_epochs=6), tmp_path)
    losses = [float(row["val/loss"]) for row in table(tmp_path / "metrics.csv")]
    assert losses != sorted(losses, reverse=True)  # the last is not the lowest
    assert results.best_epoch == losses.index(min(losses)) + 1


def test_a_metric_that_is_not_measured_cannot_be_monitored(tmp_path):
    with pytest.raises(ConfigError, match=r"monitor=val/charm: is not measured; there are .*val/loss"):
        train(digits_config(monitor="charm"), tmp_path)


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


def test_a_plain_function_of_images_and_labels_is_a_loss_too():
    def plain(output, images, labels):
        return {"loss": images.mean() + labels.sum()}

    targets = Targets(torch.tensor([1, 2]), torch.ones(2, 1, 3, 3))
    assert AdaptedLoss(plain)(Output(torch.rand(2, 4)), targets)["loss"] == 1 + 3
    assert not AdaptedLoss(plain).takes_weights
