"""Claims about scores, held against loops over single images."""

import pytest
import torch

from capsnet import CapsNet, Output, margin_loss
from capsnet.data.batches import Batches
from capsnet.data.source import LabelledImages
from capsnet.losses import AdaptedLoss, MarginLoss
from capsnet.metrics.accuracy import Accuracy
from capsnet.reports.scores import score
from capsnet.tasks.classify import Classify


def scores_of(network, split, batch_size, loss=None):
    return score(network, Batches(split, batch_size), Classify(), loss or MarginLoss(), {"accuracy": Accuracy()})


def random_images(count, classes=10):
    images = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8)
    return LabelledImages(images, torch.randint(0, classes, (count,)))


def test_scores_are_those_of_a_loop_over_single_images():
    network = CapsNet(conv_channels=8, primary_capsules=2).eval()
    split = random_images(23)
    scores = scores_of(network, split, 5)
    right, margin, error, predictions, lengths = 0, 0.0, 0.0, [], []
    with torch.no_grad():
        for image, label in zip(*split, strict=True):
            image = image.unsqueeze(0) / 255
            output = network(image)
            predictions.append(int(output.scores.argmax()))
            lengths.append(float(output.scores.max()))
            right += int(predictions[-1] == label)
            margin += float(margin_loss(output.scores, label.view(1)))
            error += float(((output.reconstruction - image) ** 2).mean())
    expected = {"loss": margin + 0.392 * error, "margin_loss": margin, "reconstruction_loss": error, "accuracy": right}
    assert scores.measured == pytest.approx({name: total / 23 for name, total in expected.items()}, rel=1e-5)
    assert scores.details["predictions"].tolist() == predictions
    assert scores.details["scores"].tolist() == pytest.approx(lengths, rel=1e-4)
    assert torch.equal(scores.details["labels"], split.labels)


class Brightness(torch.nn.Module):
    """A network without capsules or decoder: an image's class is its brightness, 0 to 2."""

    def forward(self, images, labels=None):
        return Output(torch.nn.functional.one_hot((images.flatten(1).mean(1) * 255).round().long(), 3).float())


def images_seen_as(*classes):
    return torch.tensor(classes, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def test_a_network_without_capsules_and_decoder_is_scored_too():
    split = LabelledImages(images_seen_as(0, 1, 2, 2), torch.tensor([0, 1, 2, 0]))
    measured = scores_of(Brightness(), split, 3).measured
    # Scores of 0 and 1 cost λ (1 - m-)² for a wrong class, and m+² for the right one that is missing.
    cost = (0.5 * 0.9**2 + 0.9**2) / 4
    assert measured == pytest.approx({"loss": cost, "margin_loss": cost, "accuracy": 0.75})


def test_every_scalar_that_a_loss_names_is_averaged_over_the_images_and_not_over_the_batches():
    def count_of_labels(output, images, labels):
        return {"loss": labels.double().mean(), "other": 2 * labels.double().mean()}

    split = LabelledImages(images_seen_as(0, 1, 2, 2), torch.tensor([0, 0, 0, 2]))
    measured = scores_of(Brightness(), split, 3, AdaptedLoss(count_of_labels)).measured
    assert measured == pytest.approx({"loss": 0.5, "other": 1, "accuracy": 0.5})


def test_scoring_leaves_the_network_in_evaluation_mode_and_makes_no_gradients():
    network = CapsNet(conv_channels=4, primary_capsules=1, dropout=0.5)
    scores_of(network, random_images(4), 4)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
