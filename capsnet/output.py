"""What every network says about a batch of images."""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """What a network's `forward(images, labels=None)` returns."""

    scores: Tensor
    """[batch, classes]; the largest is the prediction. For a capsule network, the lengths of its class capsules."""
    capsules: Tensor | None = None
    """Class capsules, [batch, classes, dim]; None for a network without capsules."""
    reconstruction: Tensor | None = None
    """Images drawn by the decoder, [batch, *image_shape], in [0, 1]; None for a network without a decoder."""


def confidences(output: Output, logits: bool) -> Tensor:
    """Scores for people, [batch, classes]: lengths of class capsules, or probabilities. The largest stays the largest.

    Args:
        output: of a network.
        logits: its scores are logits, unless they are lengths of capsules.
    """
    return output.scores.softmax(dim=1) if logits and output.capsules is None else output.scores
