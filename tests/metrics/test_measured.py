"""Claims about the metrics, held against scikit-learn and against sums by hand."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from conftest import wanted
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from capsnet import Output
from capsnet.errors import ConfigError
from capsnet.metrics.balanced_accuracy import class_accuracies
from capsnet.metrics.metric import Measurements
from capsnet.settings.config import COMBINABLE
from capsnet.tasks.classify import Classify

OPTIONS = COMBINABLE["metrics"]
CLASSES, IMAGES = 5, 60
AS_THEY_ARE = partial(Classify().confidences, logits=False)


def measured(name, scores, labels, batches=(IMAGES,)):
    metric = OPTIONS[name]().build()
    for some, true in zip(scores.split(list(batches)), labels.split(list(batches)), strict=True):
        metric.update(Output(some), wanted(true, torch.zeros(len(true), 1, 2, 2)))
    return metric.compute()


@pytest.fixture
def scored():
    return torch.randn(IMAGES, CLASSES).softmax(1), torch.randint(CLASSES, (IMAGES,))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_metric_is_called_as_its_option_and_depends_on_no_batch_size(name, scored):
    whole = measured(name, *scored)
    assert whole.keys() == {name}
    assert 0 <= whole[name] <= 1
    assert measured(name, *scored, batches=(1, 20, 39)) == pytest.approx(whole)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_sums_of_several_processes_add_up_to_the_metric_of_all_images(name, scored):
    class Processes:
        def __init__(self):
            self.parts = []

    scores, labels = scored
    metrics = [OPTIONS[name]().build() for _ in range(2)]
    for rank, metric in enumerate(metrics):
        metric.update(Output(scores[rank::2]), wanted(labels[rank::2], torch.zeros(IMAGES // 2, 1, 2, 2)))
    sums = {key: value for key, value in vars(metrics[1]).items() if isinstance(value, torch.Tensor)}
    assert sums
    for key, value in sums.items():
        setattr(metrics[0], key, getattr(metrics[0], key) + value)
    assert metrics[0].compute() == pytest.approx(measured(name, scores, labels))


def test_they_are_those_of_scikit_learn(scored):
    scores, labels = scored
    predicted = scores.argmax(1)
    assert measured("accuracy", *scored)["accuracy"] == pytest.approx(float((predicted == labels).float().mean()))
    assert measured("balanced_accuracy", *scored)["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )
    assert measured("f1", *scored)["f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert measured("top3", *scored)["top3"] == pytest.approx(top_k_accuracy_score(labels, scores, k=3))


def test_balanced_accuracy_leaves_out_classes_without_images():
    confusion = torch.tensor([[3, 1, 0], [0, 0, 0], [0, 1, 1]])
    assert class_accuracies(confusion) == [0.75, None, 0.5]
    scores = torch.eye(3)[torch.tensor([0, 0, 0, 1, 1, 2])]
    labels = torch.tensor([0, 0, 0, 0, 2, 2])
    found = measured("balanced_accuracy", scores, labels, batches=(6,))
    assert found["balanced_accuracy"] == pytest.approx((0.75 + 0.5) / 2)


def test_calibration_is_the_difference_between_scores_and_shares_of_right_answers():
    scores = torch.tensor([0.9, 0.1]).expand(10, 2)
    labels = torch.tensor([0] * 6 + [1] * 4)  # right in 6 of 10 cases, with a score of 0.9
    assert measured("calibration", scores, labels, batches=(10,))["calibration"] == pytest.approx(0.3)


@pytest.mark.parametrize("capsules", [None, torch.zeros(IMAGES, CLASSES, 2)])
@pytest.mark.parametrize("logits", [True, False])
def test_metrics_see_probabilities_in_place_of_logits_and_lengths_as_they_are(scored, logits, capsules):
    class Seen:
        def update(self, output, targets):
            self.scores = output.scores

        def compute(self):
            return {"sum": self.scores.sum()}

    scores, labels = scored
    measurements = Measurements({"seen": Seen()}, partial(Classify().confidences, logits=logits))
    measurements.update({"loss": torch.ones(())}, Output(scores, capsules), wanted(labels, scores))
    expected = scores.softmax(1) if logits and capsules is None else scores
    torch.testing.assert_close(measurements.metrics["seen"].scores, expected)


def of_two_processes(metric, scores, labels):
    """What the first of two processes computes, each of which has seen half of the images."""
    both = [Measurements({"mine": metric()}, AS_THEY_ARE) for _ in range(2)]
    for rank, measurements in enumerate(both):
        half = wanted(labels[rank::2], scores)
        measurements.update({"loss": torch.ones(())}, Output(scores[rank::2]), half)
    sums: list = []
    both[1].compute(lambda value: sums.append(value) or value)
    return both[0].compute(lambda value: value + sums.pop(0))


def test_numbers_that_begin_at_zero_are_added_up_over_processes_and_others_stay(scored):
    class Share:
        def __init__(self):
            self.right, self.images, self.factor = 0, 0, 2

        def update(self, output, targets):
            self.right = self.right + (output.scores.argmax(1) == targets.labels).sum()
            self.images += len(targets.labels)

        def compute(self):
            return {"share": self.factor * self.right / self.images, "images": self.images}

    scores, labels = scored
    found = of_two_processes(Share, scores, labels)
    assert found["images"] == IMAGES
    assert found["share"] == pytest.approx(2 * float((scores.argmax(1) == labels).float().mean()))


def test_a_counter_that_became_a_tensor_in_one_process_alone_is_added_up(scored):
    class OfClassZero:
        def __init__(self):
            self.found = 0

        def update(self, output, targets):
            if (zeros := targets.labels == 0).any():
                self.found = self.found + zeros.sum()

        def compute(self):
            return {"found": self.found}

    scores, labels = scored
    labels[::2] = 1
    labels[1] = 0  # which the second process alone has
    assert of_two_processes(OfClassZero, scores, labels)["found"] == int((labels == 0).sum())


@pytest.mark.parametrize("kept", [[], {}, np.zeros(3)])
def test_a_metric_that_counts_in_anything_but_sums_is_refused_with_several_processes(scored, kept):
    class Counting:
        def __init__(self):
            self.kept, self.classes, self.names = copy.copy(kept), None, {"few": torch.arange(3)}

        def update(self, output, targets):
            self.classes = output.scores.shape[1]
            if isinstance(self.kept, dict):
                self.kept["scores"] = output.scores
            elif isinstance(self.kept, list):
                self.kept.append(output.scores)
            else:
                self.kept[0] += len(output.scores)

        def compute(self):
            return {"counted": self.classes}

    with pytest.raises(ConfigError, match="metrics=mine: kept cannot be added up over processes; keep a tensor"):
        of_two_processes(Counting, *scored)


def test_buffers_of_a_metric_that_is_a_torch_module_add_up_over_processes(scored):
    class Counted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("images", torch.zeros(()))

        def update(self, output, targets):
            self.images += len(output.scores)

        def compute(self):
            return {"images": self.images}

    assert of_two_processes(Counted, *scored)["images"] == IMAGES


def test_two_metrics_of_one_name_are_refused(scored):
    class Loss:
        def update(self, output, targets):
            pass

        def compute(self):
            return {"loss": 1}

    measurements = Measurements({"mine": Loss()}, AS_THEY_ARE)
    scores, labels = scored
    measurements.update({"loss": torch.ones(())}, Output(scores), wanted(labels, scores))
    with pytest.raises(ConfigError, match="metrics=mine: loss is measured already"):
        measurements.compute()


def test_a_metric_that_is_not_a_number_was_not_measured(scored):
    class Nothing:
        def update(self, output, targets):
            pass

        def compute(self):
            return {"recall": float("nan"), "other": 1.0}

    measurements = Measurements({"mine": Nothing()}, AS_THEY_ARE)
    scores, labels = scored
    measurements.update({"loss": torch.full((), torch.nan)}, Output(scores), wanted(labels, scores))
    assert measurements.compute().keys() == {"loss", "other"}  # a loss that is none ends the training
    assert measurements.names == ("loss", "recall", "other")
