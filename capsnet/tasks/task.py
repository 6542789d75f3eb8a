"""What a task decides, so that the rest of the project need not know what is learned."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..augment.shift import shift
from ..data.batches import Composition
from ..output import Output, Targets

MOST_CLASSES, WORST_CLASSES = 25, 15
"""With more classes, the terminal lists only the worst; all of them are in evaluation.json."""

Network = Callable[..., Output]
"""(images, labels=None) -> Output."""


class Tested(NamedTuple):
    """What a network said about all test items, for the report, the figures and what is printed."""

    images: Callable[[Sequence[int]], Tensor]
    """Numbers of items -> their images, [n, channels, height, width] in [0, 1], on the network's device."""
    details: dict[str, Tensor]
    """What `Task.details` keeps of each item, [items, ...] on the CPU."""
    class_names: tuple[str, ...]
    network: Any


class Task(Composition):
    """What is learned: how single images become a batch and its targets, which capsules are decoded, what is measured,
    and what is shown.

    The methods of `Composition` make the batches. A subclass overrides what differs.
    """

    singles = 1
    """Single images in an item."""

    def output(self, network: Network, images: Tensor, targets: Targets, choose: bool = False) -> Output:
        """What a network says about a batch, to be held against its targets.

        Args:
            network: is called with images, and in training with the classes whose capsules it is to decode.
            images: [batch, *image_shape] in [0, 1].
            targets: what is wanted.
            choose: the network decodes the capsules that it chooses, as when it is used; otherwise those that are
                wanted, as in training.
        """
        return network(images) if choose else network(images, targets.classes)

    def answers(self, scores: Tensor) -> Tensor:
        """The classes that scores [batch, classes] stand for: one of each image, [batch], or k of each, [batch, k]."""
        return scores.argmax(1)

    def confidences(self, output: Output, logits: bool) -> Tensor:
        """Scores for people, [batch, classes] in [0, 1]: lengths of class capsules, or probabilities.

        Args:
            output: of a network.
            logits: its scores are logits, unless they are lengths of capsules.
        """
        return output.scores.float().softmax(1) if logits and output.capsules is None else output.scores

    def prediction(self, scores: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """What is said of one picture with scores [classes], by name: a row of the table of `capsnet.predict`."""
        labels = self.answers(scores[None]).flatten().tolist()
        numbered = [""] if len(labels) == 1 else [f"_{number}" for number in range(1, len(labels) + 1)]
        return {
            f"{name}{number}": value
            for label, number in zip(labels, numbered, strict=True)
            for name, value in (("class", class_names[label]), ("score", float(scores[label])))
        }

    def metrics(self, chosen: Mapping[str, Any], class_counts: Sequence[int] | None = None) -> dict[str, Any]:
        """New metrics, by name: those that were chosen, and those that the task adds.

        Args:
            chosen: new ones.
            class_counts: training images of each class; None if it is not known.
        """
        return dict(chosen)

    def details(self, output: Output, targets: Targets, logits: bool) -> dict[str, Tensor]:
        """What is kept of each item of a test for the report and the figures, [batch, ...] by name.

        Args:
            output: of the network.
            targets: what was wanted of it.
            logits: its scores are logits, unless they are lengths of capsules.
        """
        return {}

    def arrange(self, singles: Tensor, shifts: Tensor) -> Tensor:
        """The image of an item that somebody puts together by hand, [channels, height, width] in [0, 1].

        Args:
            singles: as many single images as `singles` says, or fewer, [n, channels, height, width] in [0, 1].
            shifts: pixels down and right by which each is moved, [n, 2] integers.
        """
        (image,) = shift(singles, shifts)
        return image

    def report(self, tested: Tested) -> dict[str, Any]:
        """What evaluation.json says beside the losses and metrics."""
        return {}

    def rows(self, report: Mapping[str, Any]) -> dict[str, str]:
        """What the terminal shows of a report, beside the metrics, by heading."""
        return {}

    def note(self, report: Mapping[str, Any]) -> str | None:
        """What a person has to be told of the report of a run's own test; None if it is as it should be."""
        return None

    def figures(self, draw: Any, tested: Tested, names: Sequence[str], title: str) -> dict[str, Any]:
        """Figures of a test, by name.

        Args:
            draw: the module `capsnet.reports.figures`.
            tested: the test.
            names: of the classes, for display.
            title: of the dataset.
        """
        return {}


def worst_classes(shares: Sequence[float | None]) -> list[int]:
    """For the terminal: the classes, each with what share of it is right; if there are many, the worst, worst first."""
    if len(shares) <= MOST_CLASSES:
        return list(range(len(shares)))
    known = [(share, label) for label, share in enumerate(shares) if share is not None]
    return [label for _, label in sorted(known)[:WORST_CLASSES]]


def worst_mistake(names: Sequence[str], label: int, taken_for: Sequence[int]) -> str:
    """For a line of the terminal: what a class is most often taken for, and how often; empty if it never is.

    Args:
        names: of the classes.
        label: the class.
        taken_for: how often it was taken for each class, a row of the confusion.
    """
    mistakes = [0 if other == label else count for other, count in enumerate(taken_for)]
    most = max(mistakes)
    return f"   most often taken for {names[mistakes.index(most)]} ({most})" if most else ""


def joined(details: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The details of all batches, on the CPU."""
    return {name: torch.cat([one[name] for one in details]).cpu() for name in details[0]}
