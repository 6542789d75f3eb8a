"""Claims about evaluating a run: it repeats the test at the end of training, and changes nothing outside its folder."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from capsnet import Output
from capsnet.errors import CheckpointError, ConfigError
from capsnet.reports.evaluation import evaluate, evaluate_checkpoint, find_checkpoint, measure_scores
from capsnet.reports.evaluation import test_batches as batches_of
from capsnet.settings.config import OPTIONS
from capsnet.settings.parse import config_from_dict
from capsnet.tasks import task
from capsnet.tasks.classify import SHOWN_RECONSTRUCTIONS, Classify, _candidates, _well_drawn


@pytest.fixture
def run(finished_run, tmp_path) -> Path:
    """A copy of the finished run that a test may damage."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def evaluated(run, figures="false", **overrides):
    """The report on a run, without figures unless they are asked for: they take most of the time."""
    return evaluate_checkpoint(*find_checkpoint(str(run), None), {"figures": figures, **overrides}).report


def test_evaluation_agrees_with_the_test_at_the_end_of_training_and_with_itself(run):
    trained = json.loads((run / "results.json").read_text())
    (run / "evaluation.json").unlink()
    report = evaluated(run)
    assert report["accuracy"] == trained["test_accuracy"]
    assert report["loss"] == pytest.approx(trained["test_loss"], rel=1e-6)
    assert report["epoch"] == trained["best_epoch"]
    assert sum(map(sum, report["confusion"])) == trained["dataset"]["test"]
    assert json.loads((run / "evaluation.json").read_text()) == report
    confusion = torch.tensor(report["confusion"])
    assert report["accuracy"] == pytest.approx(confusion.diagonal().sum().item() / confusion.sum().item())
    by_class = (confusion.diagonal() / confusion.sum(1)).tolist()
    assert list(report["per_class_accuracy"].values()) == pytest.approx(by_class)
    assert list(report["per_class_accuracy"]) == report["class_names"] == list("0123456789")
    assert report["balanced_accuracy"] == pytest.approx(sum(by_class) / 10)
    assert report["loss"] == pytest.approx(report["margin_loss"] + 0.392 * report["reconstruction_loss"], rel=1e-5)


def test_settings_can_be_replaced_and_one_iteration_and_uniform_routing_score_the_same(run):
    once, uniform = evaluated(run, **{"routing.iters": "1"}), evaluated(run, routing="uniform")
    assert once["config"]["routing"]["iters"] == 1
    assert uniform["config"]["routing"] == {"name": "uniform"}
    assert once["confusion"] == uniform["confusion"]
    assert once["loss"] == uniform["loss"]
    with pytest.raises(ConfigError, match=r"did you mean routing\.iters"):
        evaluated(run, **{"routing.iter": "1"})


@pytest.mark.parametrize(("key", "value"), [("optimizer.lr", "0.1"), ("data.batch_size", "7"), ("optimizer", "adam")])
def test_a_setting_that_only_matters_in_training_is_refused(run, key, value):
    with pytest.raises(ConfigError, match=f"{key}={value}: has no effect on an evaluation"):
        evaluated(run, **{key: value})


def test_one_checkpoint_file_can_be_picked(run):
    checkpoint, folder = find_checkpoint(None, str(run / "checkpoints/last.ckpt"))
    assert folder == run
    assert evaluate_checkpoint(checkpoint, folder, {"figures": "false"}).report["epoch"] == 3


def test_a_checkpoint_moved_elsewhere_still_knows_its_config_and_gets_its_figures(run, tmp_path):
    moved = tmp_path / "elsewhere" / "model.ckpt"
    moved.parent.mkdir()
    shutil.copy(run / "checkpoints/best.ckpt", moved)
    report = evaluate_checkpoint(*find_checkpoint(None, str(moved))).report
    assert report["config"]["routing"]["iters"] == 2
    drawn = {path.name for path in (moved.parent / "figures").iterdir()}
    names = ("confusion", "mistakes", "reconstructions", "perturbations")  # curves need a metrics.csv
    assert drawn == {f"{name}.png" for name in names}


def test_what_cannot_be_evaluated_is_refused_in_one_line_by_name(run, tmp_path):
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        evaluated(run, **{"model.class_dim": "4"})  # weights of another architecture
    assert "\n" not in str(caught.value)
    (run / "metrics.csv").write_text("epoch,train/loss\nx,y\n")
    with pytest.raises(CheckpointError, match=r"metrics\.csv"):
        evaluated(run, figures="true")
    (run / "checkpoints/best.ckpt").unlink()
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        evaluated(run)
    with pytest.raises(CheckpointError, match="there is no such folder"):
        evaluated(tmp_path / "nowhere")


class Mean(torch.nn.Module):
    """A network without capsules or decoder: one linear layer on the mean of each row of pixels."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(28, 10)

    def forward(self, images, labels=None):
        return Output(self.linear(images.mean(-1).flatten(1)).sigmoid())


class WithoutDecoder(Mean):
    """The same with class capsules."""

    def forward(self, images, labels=None):
        capsules = super().forward(images).scores.unsqueeze(2)
        return Output(capsules.norm(dim=-1), capsules)


def test_figures_that_cannot_be_drawn_cost_no_test_and_chosen_metrics_are_shown(tmp_path, monkeypatch, caplog):
    def figures(*arguments):
        raise ZeroDivisionError("of the task")

    monkeypatch.setattr(Classify, "figures", figures)
    config = config_from_dict({"data": {"name": "digits"}}, {"metrics": "[accuracy,top3]"})
    evaluation = evaluate(Mean(), config.data.build(), config, tmp_path, tmp_path / "none.ckpt", epoch=None)
    assert "ZeroDivisionError: of the task" in caplog.text
    assert json.loads((tmp_path / "evaluation.json").read_text())["top3"] == evaluation.report["top3"]
    assert evaluation.rows["top3"] == f"{evaluation.report['top3']:.2%}"
    assert evaluation.figures == {}


def test_a_task_whose_details_need_more_than_scores_says_so_where_scores_are_averaged(monkeypatch):
    monkeypatch.setattr(Classify, "details", lambda task, output, targets, logits: output.extras["angle"])
    config = config_from_dict({"data": {"name": "digits"}})
    dataset = config.data.build()
    batches = batches_of(Mean(), dataset, Classify())
    with pytest.raises(ConfigError, match="task=classify: its details need more than averaged scores"):
        measure_scores(torch.rand(360, 10), batches, Classify(), config, dataset.class_names)


class AllRight(Mean):
    """Has been told the answers."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, images, labels=None):
        mine, self.labels = self.labels.split([len(images), len(self.labels) - len(images)])
        return Output(F.one_hot(mine, 10).float())


def test_a_network_that_makes_no_mistakes_gets_its_figures_and_no_task_composes_no_images(tmp_path, monkeypatch):
    def compose(task, sample, items, classes):
        assert len(items["row"])
        return composed(task, sample, items, classes)

    composed = Classify.compose
    monkeypatch.setattr(Classify, "compose", compose)
    config = config_from_dict({"data": {"name": "digits"}})
    dataset = config.data.build()
    labels = dataset.read_test_images().labels
    network = AllRight(torch.cat([labels, labels[:SHOWN_RECONSTRUCTIONS]]))
    report, figures, *_ = evaluate(network, dataset, config, tmp_path, tmp_path / "none.ckpt", epoch=None)
    assert report["accuracy"] == 1
    assert set(figures) == {"confusion", "mistakes"}


def test_a_loss_that_names_something_of_the_report_does_not_replace_it(tmp_path, monkeypatch):
    @dataclass
    class Boastful:
        def build(self):
            return lambda output, images, labels: {"loss": output.scores.mean(), "accuracy": torch.tensor(7.0)}

    monkeypatch.setitem(OPTIONS["loss"], "boastful", Boastful)
    config = replace(config_from_dict({"data": {"name": "digits"}, "figures": False}), loss=Boastful())
    with pytest.raises(ConfigError, match="accuracy"):
        evaluate(Mean(), config.data.build(), config, tmp_path, tmp_path / "none.ckpt", epoch=None)


@pytest.mark.parametrize("network", [Mean, WithoutDecoder])
def test_only_the_figures_that_apply_are_drawn(network, tmp_path):
    config = config_from_dict({"data": {"name": "digits"}})
    dataset = config.data.build()
    report, figures, *_ = evaluate(network(), dataset, config, tmp_path, tmp_path / "none.ckpt", epoch=None)
    assert set(figures) == {"confusion", "mistakes"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"confusion.png", "mistakes.png"}
    assert "reconstruction_loss" not in report
    assert dataset.train_split is None
    assert report["dataset"]["test"] == 360 > SHOWN_RECONSTRUCTIONS


def test_examples_of_a_class_are_recognized_or_its_first_one_and_the_best_drawn_is_taken():
    true, predicted = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 0, 0])
    assert _candidates(true, predicted, 3) == [[0, 1], [3]]
    images = torch.rand(5, 1, 4, 4)
    drawn = images + torch.tensor([0.3, 0.1, 0.0, 0.2, 0.0])[:, None, None, None]
    shown = []

    def network(some):
        return Output(torch.zeros(len(some), 2), reconstruction=drawn[shown[-1]])

    def images_of(numbers):
        shown.append(numbers)
        return images[numbers]

    tested = task.Tested(images_of, {}, ("a", "b"), network)
    assert _well_drawn(tested, [[0, 1], [3]]) == [1, 3]
