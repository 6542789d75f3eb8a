"""Claims about the moving average of the weights: what it is, what is measured with it, and where it is kept."""

import dataclasses

import pytest
import pytorch_lightning as pl
import torch
from conftest import digits_config

from capsnet.data.batches import Batches
from capsnet.reports.scores import score
from capsnet.runs.checkpoints import build_network, load_checkpoint, read_checkpoint
from capsnet.runs.metrics import read_metrics
from capsnet.settings.config import build_loss, build_metrics
from capsnet.settings.model import EfficientCapsNet
from capsnet.training.run import train

DECAY = 0.8
AVERAGED = {"trainer__average_weights": DECAY}


class EveryStep(pl.Callback):
    """Copies the network's weights after every batch."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.weights.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})


def weights_in(run, name):
    return load_checkpoint(run / "checkpoints" / name).weights


def moving_average(steps):
    """Of numbers, step by step, with a decay that begins at 2 / 11."""
    average = steps[0].double()
    for number, value in enumerate(steps[1:], 1):
        decay = min(DECAY, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * value.double()
    return average


def test_best_ckpt_has_the_moving_average_and_last_ckpt_what_training_continues_from(tmp_path):
    every = EveryStep()
    train(digits_config(data__val_size=0, **AVERAGED), tmp_path, callbacks=[every])
    for name, value in weights_in(tmp_path, "best.ckpt").items():
        expected = moving_average([weights[name] for weights in every.weights])
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)
    last = weights_in(tmp_path, "last.ckpt")
    assert all(torch.equal(value, every.weights[-1][name]) for name, value in last.items())


def test_validation_measures_the_average(tmp_path):
    config = digits_config(**AVERAGED)
    best = train(config, tmp_path).best_epoch
    dataset = config.data.build(config.seed)
    dataset.read_training_images()
    network = build_network(config, dataset.image_shape, 10)
    network.load_state_dict(weights_in(tmp_path, "best.ckpt"))
    task = config.task.build()
    scores = score(network, Batches(dataset.val_split, 64), task, build_loss(config.loss), build_metrics(config))
    metrics = read_metrics(tmp_path / "metrics.csv")
    assert metrics["val/accuracy"][best - 1] == pytest.approx(scores.measured["accuracy"])
    assert metrics["val/loss"][best - 1] == pytest.approx(scores.measured["loss"], rel=1e-5)


def test_training_itself_goes_on_as_without_an_average(tmp_path):
    for name, settings in (("plain", {}), ("averaged", AVERAGED)):
        (tmp_path / name).mkdir()
        train(digits_config(**settings), tmp_path / name)
    plain, averaged = (read_metrics(tmp_path / name / "metrics.csv") for name in ("plain", "averaged"))
    assert averaged["train/loss"] == plain["train/loss"]
    assert averaged["val/loss"] != plain["val/loss"]


def test_the_statistics_of_batch_normalization_are_averaged_alike_and_counts_are_copied(tmp_path):
    every = EveryStep()
    config = digits_config(data__limit=80, data__batch_size=20, data__val_size=0, **AVERAGED)
    train(dataclasses.replace(config, model=EfficientCapsNet()), tmp_path, callbacks=[every])
    best = weights_in(tmp_path, "best.ckpt")
    statistics = [name for name in best if name.endswith(("running_mean", "running_var"))]
    assert statistics
    for name in statistics:
        expected = moving_average([weights[name] for weights in every.weights])
        torch.testing.assert_close(best[name].double(), expected, rtol=1e-4, atol=1e-6)
    assert {int(best[name]) for name in best if name.endswith("num_batches_tracked")} == {len(every.weights)}


def test_accumulated_gradients_make_one_step_of_the_average(tmp_path):
    config = digits_config(trainer__accumulate_grad_batches=2, **AVERAGED)  # 5 batches are 3 steps
    train(config, tmp_path)
    state = read_checkpoint(tmp_path / "checkpoints/last.ckpt")["callbacks"]["WeightAverage"]
    assert state["steps"] == 6
