"""Claims about tasks: another one than classification needs nothing outside its own class."""

from dataclasses import dataclass

import pytest
import torch
from conftest import digits_config, record_of, table
from torch.nn import functional as F

from capsnet.output import Targets
from capsnet.reports.evaluation import evaluate_checkpoint
from capsnet.runs.trained import load
from capsnet.settings.config import OPTIONS
from capsnet.tasks.task import Task
from capsnet.training.run import train


class BothRight:
    """Share of the pairs of which both classes have the two largest scores."""

    def __init__(self):
        self.right, self.pairs = torch.zeros(()), torch.zeros(())

    def update(self, output, targets):
        best = output.scores.topk(2, dim=1).indices.sort(1).values
        self.right = self.right.to(best.device) + (best == targets.labels.sort(1).values).all(1).sum()
        self.pairs = self.pairs.to(best.device) + len(best)

    def compute(self):
        return {"both_right": self.right / self.pairs}


class SideBySide(Task):
    """Two images, one laid over the other: both classes are to be named, and both are drawn."""

    def plan(self, labels, classes, augmentation=None, generator_of=None):
        return {"row": torch.arange(len(labels)), "over": torch.arange(len(labels)).roll(1)}

    def compose(self, sample, items, classes):
        (one, first), (other, second) = sample(items["row"]), sample(items["over"])
        return (one + other).clamp(max=1), Targets(torch.stack([first, second], 1), torch.stack([one, other], 1))

    def output(self, network, images, targets, choose=False):
        output = network(images)
        labels = self.answers(output.scores) if choose else targets.labels
        drawings = [network.decode(output.capsules, label) for label in labels.unbind(1)]
        return output._replace(reconstruction=torch.stack(drawings, 1))

    def answers(self, scores):
        return scores.topk(2, dim=1).indices

    def metrics(self, chosen, class_counts=None):
        return {"both_right": BothRight()}

    def details(self, output, targets, logits):
        return {"labels": targets.labels, "answers": self.answers(output.scores)}

    def report(self, tested):
        return {"pairs": len(tested.details["labels"])}

    def rows(self, report):
        return {"both right": f"{report['both_right']:.2%} of {report['pairs']} pairs"}


@dataclass
class SideBySideOption:
    """Two images at once."""

    monitor = "both_right"

    def build(self):
        return SideBySide()


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setitem(OPTIONS["task"], "side_by_side", SideBySideOption)
    return digits_config(task="side_by_side")


def test_a_task_with_two_labels_and_two_drawings_is_trained_tested_and_evaluated(config, tmp_path):
    results = train(config, tmp_path)
    assert results.monitor == "val/both_right"
    assert results.metrics.keys() >= {"train/both_right", "val/both_right", "test/both_right", "test/loss"}
    assert "val/accuracy" not in results.metrics
    record = record_of(tmp_path)
    assert record["val_both_right"] == results.metrics["val/both_right"]
    assert set(table(tmp_path / "metrics.csv")[0]) >= {"train/both_right", "val/both_right", "val/reconstruction_loss"}
    evaluation = evaluate_checkpoint(tmp_path / "checkpoints/best.ckpt", tmp_path)
    assert evaluation.report["both_right"] == results.metrics["test/both_right"]
    assert evaluation.rows == {"both right": f"{evaluation.report['both_right']:.2%} of 360 pairs"}
    assert load(tmp_path).predict(torch.rand(3, 1, 28, 28)).labels.shape == (3, 2)


@pytest.mark.parametrize("loss", OPTIONS["loss"])
def test_every_loss_takes_images_of_several_classes(loss):
    scores, labels = torch.rand(4, 5), torch.tensor([[0, 3], [1, 2], [4, 0], [2, 1]])
    targets = Targets(labels, torch.zeros(4, 2, 1, 2, 2))
    assert torch.equal(targets.presence(5), F.one_hot(labels, 5).sum(1).float())
    from capsnet.output import Output

    built = OPTIONS["loss"][loss]().build()
    right = built(Output(targets.presence(5) * 0.95), targets)["loss"]
    assert right < built(Output(scores), targets)["loss"]
