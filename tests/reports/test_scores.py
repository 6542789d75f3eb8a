"""Claims about scores, held against loops over single images."""

import pytest
import torch

from capsnet import CapsNet, Output, margin_loss
from capsnet.data.batches import Batches
from capsnet.data.source import LabelledImages
from capsnet.reports.scores import Scores, score
from capsnet.settings.loss import Margin


def random_images(count, classes=10):
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8)
    return LabelledImages(images, torch.randint(0, classes, (count,)))


def test_scores_are_those_of_a_loop_over_single_images():
    network = CapsNet(conv_channels=8, primary_capsules=2).eval()
    split = random_images(23)
    scores = score(network, Batches(split, 5), Margin().build(), 10)
    right, margin, error, confusion = 0, 0.0, 0.0, torch.zeros(10, 10, dtype=torch.int64)
    predictions = []
    with torch.no_grad():
        for image, label in zip(*split, strict=True):
            image = image.unsqueeze(0) / 255
            output = network(image)
            seen = int(output.scores.argmax())
            predictions.append(seen)
            right += int(seen == label)
            confusion[label, seen] += 1
            margin += float(margin_loss(output.scores, label.view(1)))
            error += float(((output.reconstruction - image) ** 2).mean())
    assert scores.accuracy == pytest.approx(right / 23)
    assert scores.losses == pytest.approx(
        {"loss": (margin + 0.392 * error) / 23, "margin_loss": margin / 23, "reconstruction_loss": error / 23}, rel=1e-5
    )
    assert scores.predictions.tolist() == predictions
    assert torch.equal(scores.confusion, confusion)


class Brightness(torch.nn.Module):
    """A network without capsules or decoder: an image's class is its brightness, 0 to 2."""

    def forward(self, images, labels=None):
        return Output(torch.nn.functional.one_hot((images.flatten(1).mean(1) * 255).round().long(), 3).float())


def images_seen_as(*classes):
    return torch.tensor(classes, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def test_a_network_without_capsules_and_decoder_is_scored_too():
    split = LabelledImages(images_seen_as(0, 1, 2, 2), torch.tensor([0, 1, 2, 0]))
    scores = score(Brightness(), Batches(split, 3), Margin().build(), 3)
    assert scores.accuracy == 0.75
    assert scores.confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert set(scores.losses) == {"loss", "margin_loss"}
    # Scores of 0 and 1 cost λ (1 - m-)² for a wrong class, and m+² for the right one that is missing.
    assert scores.losses["loss"] == pytest.approx((0.5 * 0.9**2 + 0.9**2) / 4)


def test_every_scalar_that_a_loss_names_is_averaged_over_the_images_and_not_over_the_batches():
    def count_of_labels(output, images, labels):
        return {"loss": labels.double().mean(), "other": 2 * labels.double().mean()}

    split = LabelledImages(images_seen_as(0, 1, 2, 2), torch.tensor([0, 0, 0, 2]))
    scores = score(Brightness(), Batches(split, 3), count_of_labels, 3)
    assert scores.losses == pytest.approx({"loss": 0.5, "other": 1})


def test_scoring_leaves_the_network_in_evaluation_mode_and_makes_no_gradients():
    network = CapsNet(conv_channels=4, primary_capsules=1, dropout=0.5)
    split = random_images(4)
    score(network, Batches(split, 4), Margin().build(), 10)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def of_confusion(rows):
    none = torch.zeros(0)
    return Scores(0.0, {}, predictions=none, confusion=torch.tensor(rows), confidences=none, images_per_second=1.0)


def test_balanced_accuracy_is_the_mean_of_the_accuracies_by_class():
    scores = of_confusion([[8, 2, 0], [5, 5, 0], [0, 0, 1000]])
    assert scores.per_class_accuracy == [0.8, 0.5, 1.0]
    assert scores.balanced_accuracy == pytest.approx((0.8 + 0.5 + 1.0) / 3)


def test_balanced_accuracy_is_the_accuracy_where_classes_are_equally_large():
    confusion = torch.tensor([[8, 2], [3, 7]])
    assert of_confusion(confusion.tolist()).balanced_accuracy == pytest.approx(15 / 20)


def test_classes_without_images_have_no_accuracy_and_are_left_out_of_the_mean():
    scores = of_confusion([[3, 1, 0], [0, 0, 0], [0, 1, 1]])
    assert scores.per_class_accuracy == [0.75, None, 0.5]
    assert scores.balanced_accuracy == pytest.approx((0.75 + 0.5) / 2)
