"""Claims about the losses, held against sums written out by hand."""

import pytest
import torch
from conftest import wanted

from capsnet import Output, margin_loss, reconstruction_loss
from capsnet.losses import MarginLoss, Progress, SpreadLoss, spread_loss
from capsnet.output import Targets
from capsnet.settings.loss import CrossEntropy, Margin


def test_margin_loss_is_equation_four_term_by_term():
    lengths = torch.rand(5, 4, dtype=torch.float64)
    labels = torch.tensor([0, 3, 2, 2, 1])
    total = 0.0
    for image in range(5):
        for k in range(4):
            v, t = lengths[image, k].item(), float(labels[image] == k)
            total += t * max(0, 0.9 - v) ** 2 + 0.5 * (1 - t) * max(0, v - 0.1) ** 2
    assert margin_loss(lengths, labels).item() == pytest.approx(total / 5)


@pytest.mark.parametrize(
    "labels", [[10, 1], [-1, 0], [[0, 1], [1, 0]], [0, 1, 2], [0.0, 1.0]], ids=lambda labels: str(labels)
)
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(ValueError, match="expected labels"):
        margin_loss(torch.rand(2, 10), torch.tensor(labels))


def test_lengths_beyond_both_margins_cost_nothing():
    lengths = torch.full((2, 3), 0.05)
    lengths[0, 1] = lengths[1, 2] = 0.95
    assert margin_loss(lengths, torch.tensor([1, 2])) == 0


def test_margins_and_down_weight_are_those_given():
    loss = margin_loss(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), m_pos=0.8, m_neg=0.3, down_weight=0.25)
    assert loss.item() == pytest.approx(0.3**2 + 0.25 * 0.2**2)


def test_the_function_and_the_loss_of_a_training_have_the_same_margins_by_default():
    scores, labels = torch.rand(4, 3), torch.tensor([0, 1, 2, 2])
    assert MarginLoss()(Output(scores), wanted(labels, torch.rand(4, 1, 2, 2)))["loss"] == margin_loss(scores, labels)


def test_reconstruction_loss_at_the_default_weight_is_the_papers_for_28x28():
    images, drawn = torch.rand(6, 1, 28, 28), torch.rand(6, 1, 28, 28)
    papers = 0.0005 * sum(((a - b) ** 2).sum().item() for a, b in zip(images, drawn, strict=True)) / 6
    ours = Margin.reconstruction_weight * reconstruction_loss(drawn, images).item()
    assert ours == pytest.approx(papers, rel=1e-5)


def test_margin_loss_of_half_precision_is_summed_in_float32():
    lengths, labels = torch.rand(64, 10).bfloat16(), torch.arange(64) % 10
    loss = margin_loss(lengths, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, margin_loss(lengths.float(), labels))


def test_reconstruction_loss_of_half_precision_is_summed_in_float32():
    images = torch.rand(64, 1, 28, 28)
    drawn = torch.rand(64, 1, 28, 28).bfloat16()
    loss = reconstruction_loss(drawn, images)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, (drawn.float() - images).square().mean())


def batch():
    """Scores, images, drawn images and labels of six images in four classes."""
    return torch.rand(6, 4), torch.rand(6, 1, 5, 5), torch.rand(6, 1, 5, 5), torch.arange(6) % 4


def test_the_option_margin_adds_the_weighted_reconstruction_loss_and_names_the_parts():
    scores, images, drawn, labels = batch()
    loss = Margin(m_pos=0.8, m_neg=0.3, down_weight=0.25, reconstruction_weight=2).build()
    parts = loss(Output(scores, reconstruction=drawn), wanted(labels, images))
    assert set(parts) == {"loss", "margin_loss", "reconstruction_loss"}
    torch.testing.assert_close(parts["margin_loss"], margin_loss(scores, labels, 0.8, 0.3, 0.25))
    torch.testing.assert_close(parts["reconstruction_loss"], reconstruction_loss(drawn, images))
    torch.testing.assert_close(parts["loss"], parts["margin_loss"] + 2 * parts["reconstruction_loss"])


def test_without_a_reconstruction_the_option_margin_is_the_margin_loss():
    scores, images, _, labels = batch()
    parts = Margin().build()(Output(scores), wanted(labels, images))
    assert set(parts) == {"loss", "margin_loss"}
    assert parts["loss"] == parts["margin_loss"] == margin_loss(scores, labels)


def test_cross_entropy_is_the_mean_negative_log_probability_of_the_true_class():
    scores, labels = torch.randn(5, 4), torch.tensor([0, 3, 2, 2, 1])
    losses = CrossEntropy().build()(Output(scores), wanted(labels, torch.rand(5, 1, 6, 6)))
    expected = -sum(scores[n].double().softmax(0)[label].log() for n, label in enumerate(labels)) / 5
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert set(losses) == {"loss", "cross_entropy"}


def test_smoothed_labels_are_those_with_a_share_spread_over_all_classes():
    scores, labels = torch.randn(5, 4), torch.tensor([0, 3, 2, 2, 1])
    smoothed = 0.9 * torch.nn.functional.one_hot(labels, 4) + 0.1 / 4
    expected = -(smoothed * scores.double().log_softmax(1)).sum(1).mean()
    loss = CrossEntropy(label_smoothing=0.1).build()(Output(scores), wanted(labels, torch.rand(5, 1, 6, 6)))["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_reconstruction_of_a_network_with_a_decoder_is_added_to_either_loss():
    images, drawn = torch.rand(3, 1, 6, 6), torch.rand(3, 1, 6, 6)
    for option in (Margin(reconstruction_weight=0.5), CrossEntropy(reconstruction_weight=0.5)):
        losses = option.build()(Output(torch.rand(3, 4), None, drawn), wanted(torch.tensor([0, 1, 2]), images))
        (of_scores,) = [value for name, value in losses.items() if name not in ("loss", "reconstruction_loss")]
        assert losses["loss"].item() == pytest.approx((of_scores + 0.5 * ((drawn - images) ** 2).mean()).item())


@pytest.mark.parametrize("option", [Margin(), CrossEntropy(label_smoothing=0.1)])
def test_weights_multiply_what_each_image_adds_to_the_mean(option):
    loss, scores = option.build(), torch.rand(4, 3, dtype=torch.float64)
    images, labels, weights = torch.rand(4, 1, 2, 2), torch.tensor([0, 2, 1, 1]), torch.tensor([0.5, 2.0, 0.0, 1.5])

    def of(*rows):
        rows = list(rows)
        return float(loss(Output(scores[rows]), wanted(labels[rows], images[rows]))["loss"])

    weighted = loss(Output(scores), wanted(labels, images, weights))["loss"]
    expected = sum(weight * of(row) for row, weight in enumerate(weights.tolist())) / 4
    assert float(weighted) == pytest.approx(expected, rel=1e-5)
    ones = loss(Output(scores), wanted(labels, images, torch.ones(4)))["loss"]
    assert float(ones) == pytest.approx(of(0, 1, 2, 3), rel=1e-5)


def test_spread_loss_is_the_papers_sum_term_by_term_also_of_two_classes_and_of_probabilities():
    scores, margin = torch.rand(4, 5, dtype=torch.float64), 0.7
    true = [[0], [4], [2, 3], [1, 1]]
    costs = []
    for image, classes in enumerate(true):
        pairs = [(t, i) for t in set(classes) for i in range(5) if i not in classes]
        costs.append(sum(max(0, margin - (scores[image, t] - scores[image, i]).item()) ** 2 for t, i in pairs))
    single, double = torch.tensor([0, 4]), torch.tensor([[2, 3], [1, 1]])
    assert spread_loss(scores[:2], single, margin).item() == pytest.approx(sum(costs[:2]) / 2)
    assert spread_loss(scores[2:], double, margin).item() == pytest.approx(sum(costs[2:]) / 2)
    loss = SpreadLoss(last_margin=margin)  # which it has at the end of a training
    assert loss(Output(scores[2:]), Targets(double, None))["loss"].item() == pytest.approx(sum(costs[2:]) / 2)
    shares = torch.tensor([[0.25, 0.75, 0, 0, 0]]).double()
    both = [spread_loss(scores[:1], torch.tensor([label]), margin) for label in (0, 1)]
    torch.testing.assert_close(spread_loss(scores[:1], shares, margin), 0.25 * both[0] + 0.75 * both[1])
    weighted = spread_loss(scores[:2], single, margin, torch.tensor([3.0, 0.5]).double())
    assert weighted.item() == pytest.approx((3 * costs[0] + 0.5 * costs[1]) / 2)


def test_the_margin_of_the_spread_loss_grows_in_a_straight_line_and_stays():
    loss = SpreadLoss(first_margin=0.2, last_margin=0.9, growth=0.5)
    margins = [loss.margin(Progress(step, 100, 0, 1)) for step in (0, 25, 50, 99)]
    assert margins == pytest.approx([0.2, 0.55, 0.9, 0.9])
    right = Output(torch.tensor([[0.8, 0.3]]))
    assert loss(right, wanted(torch.tensor([0]), None), Progress(0, 100, 0, 1))["loss"] == 0
    assert loss(right, wanted(torch.tensor([0]), None), Progress(50, 100, 0, 1))["loss"] == pytest.approx(0.4**2)


def test_the_cross_entropy_takes_activations_as_probabilities_in_proportion_or_as_logits():
    activations, labels = torch.rand(3, 4), torch.tensor([0, 3, 1])
    output = Output(activations, torch.zeros(3, 4, 16), None, activations)
    own = CrossEntropy().build()(output, wanted(labels, None))["loss"]
    shares = activations / activations.sum(1, keepdim=True)
    torch.testing.assert_close(own, -shares[torch.arange(3), labels].log().mean())
    as_logits = CrossEntropy(activations="logits").build()(output, wanted(labels, None))["loss"]
    torch.testing.assert_close(as_logits, torch.nn.functional.cross_entropy(activations, labels))


def test_the_cross_entropy_of_activations_has_its_gradient_down_to_the_least_probability():
    logits, labels = torch.tensor([[0.0, 68.0, 3.0]], requires_grad=True), torch.tensor([0])
    activations = logits.softmax(1)
    CrossEntropy().build()(Output(activations, None, None, activations), wanted(labels, None))["loss"].backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-1.0, 1.0, 0.0]]), atol=1e-6, rtol=0)
    hidden = torch.tensor([[-40.0, -50.0]], requires_grad=True)  # capsules each of which is active by itself
    activations = hidden.sigmoid()
    output = Output(activations, None, None, activations)
    CrossEntropy().build()(output, wanted(torch.tensor([1]), None))["loss"].backward()
    assert hidden.grad[0, 1] < -0.9
