"""One class for each image."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..augment import Augmentation
from ..augment.mixup import mix
from ..data.balance import are_unbalanced
from ..data.batches import Generators, Sample
from ..metrics.balanced_accuracy import BalancedAccuracy, class_accuracies
from ..metrics.counts import confusion_matrix
from ..output import Output, Targets
from .task import MOST_CLASSES, WORST_CLASSES, Task, Tested, worst_classes, worst_mistake

SHOWN_RECONSTRUCTIONS = 36
CANDIDATES = 20  # recognized images of a class, of which the one that is drawn best is perturbed
STANDARD_ERRORS = 2  # above chance, from which on a network is better than chance


class Classify(Task):
    """An image has one class: the one with the largest score is the answer.

    Under mixup, an image and its class probabilities are mixed with another one's. The capsules are then decoded by
    these probabilities, and the class with the larger share counts as the true one.
    """

    def plan(
        self,
        labels: Tensor,
        classes: int,
        augmentation: Augmentation | None = None,
        generator_of: Generators | None = None,
    ) -> dict[str, Tensor]:
        plan = super().plan(labels, classes, augmentation, generator_of)
        if augmentation is not None and augmentation.mixup is not None:
            assert generator_of is not None
            plan["mixed with"], plan["own share"] = augmentation.mixup.draw(len(labels), generator_of("mixup"))
        return plan

    def compose(self, sample: Sample, items: dict[str, Tensor], classes: int) -> tuple[Tensor, Targets]:
        images, labels = sample(items["row"])
        if "own share" not in items:
            return images, Targets(labels, images)
        others, other_labels = sample(items["mixed with"])
        shares = items["own share"]
        images = mix(images, others, shares)
        one_hot = (F.one_hot(some, classes).float() for some in (labels, other_labels))
        return images, Targets(labels, images, mix(*one_hot, shares))

    def prediction(self, scores: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """The class with the largest score, and the second choice."""
        said: dict[str, Any] = {}
        best, labels = (part.tolist() for part in scores.topk(min(2, len(class_names))))
        for place, score, label in zip(("", "second_"), best, labels, strict=False):
            said |= {f"{place}class": class_names[label], f"{place}score": score}
        return said

    def metrics(self, chosen: Mapping[str, Any], class_counts: Sequence[int] | None = None) -> dict[str, Any]:
        """Those that were chosen; and balanced accuracy, where classes differ so much that accuracy alone misleads."""
        adds = class_counts is not None and are_unbalanced(class_counts)
        return {**chosen, **({"balanced_accuracy": BalancedAccuracy()} if adds else {})}

    def details(self, output: Output, targets: Targets, logits: bool) -> dict[str, Tensor]:
        """True classes, predicted ones, and the scores of these."""
        scores = self.confidences(output, logits).amax(1).float()
        return {"labels": targets.labels, "predictions": output.scores.argmax(1), "scores": scores}

    def report(self, tested: Tested) -> dict[str, Any]:
        """Accuracy; means over the classes of accuracy, precision, recall and F1; accuracy by class, confusion."""
        from sklearn.metrics import precision_recall_fscore_support

        true, predicted = tested.details["labels"], tested.details["predictions"]
        names = tested.class_names
        confusion = confusion_matrix(true, predicted, len(names))
        by_class = class_accuracies(confusion)
        known = [accuracy for accuracy in by_class if accuracy is not None]
        precision, recall, f1, _ = precision_recall_fscore_support(
            true.numpy(), predicted.numpy(), average="macro", zero_division=0
        )
        return {
            "accuracy": float((true == predicted).double().mean()),
            "balanced_accuracy": sum(known) / len(known),
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "per_class_accuracy": dict(zip(names, by_class, strict=True)),
            "class_names": list(names),
            "confusion": confusion.tolist(),
        }

    def rows(self, report: Mapping[str, Any]) -> dict[str, str]:
        """Accuracy, its mean over the classes if that says something else, means of precision, recall and F1, and each
        class's accuracy, which is its recall, precision and F1, of the worst if there are many."""
        names, confusion = report["class_names"], report["confusion"]
        sizes = [sum(row) for row in confusion]
        rows = {"accuracy": f"{report['accuracy']:.2%} of {sum(sizes):,} images"}
        if are_unbalanced(sizes):
            rows["balanced accuracy"] = f"{report['balanced_accuracy']:.2%}, the mean over the classes"
        of_classes = [_precision_recall_f1(confusion, label) for label in range(len(names))]
        met = [
            numbers for label, numbers in enumerate(of_classes) if sizes[label] or any(row[label] for row in confusion)
        ]
        means = [sum(numbers) / len(met) for numbers in zip(*met, strict=True)]
        rows["means"] = "precision {:.2%}, recall {:.2%}, F1 {:.2%}, over the classes".format(*means)
        accuracies = list(report["per_class_accuracy"].values())
        if len(names) > MOST_CLASSES:
            rows["classes"] = f"{len(names)}, of which these {WORST_CLASSES} are recognized worst:"
        for label in worst_classes(accuracies):
            often = worst_mistake(names, label, confusion[label])
            precision, recall, f1 = of_classes[label]
            scores = f"{recall:7.2%}   precision {precision:7.2%}, F1 {f1:7.2%}"
            rows[f"  {names[label]}"] = "no images" if accuracies[label] is None else f"{scores}{often}"
        return rows

    def note(self, report: Mapping[str, Any]) -> str | None:
        """That the network is no better than one that always gives the same answer, as far as the images can tell."""
        sizes = [sum(row) for row in report["confusion"]]
        count, largest = sum(sizes), max(sizes)
        chance = largest / count
        if len(sizes) == 1 or report["accuracy"] > chance + STANDARD_ERRORS * math.sqrt(chance * (1 - chance) / count):
            return None
        name = report["class_names"][sizes.index(largest)]
        return (
            f"The test does not show that the network has learned anything: always saying {name} would be right in"
            f" {chance:.1%} of the {count:,} test images, and it is in {report['accuracy']:.1%}. Try trainer.max_epochs"
            " twice as high, optimizer.lr a quarter, or model=small_cnn; look at figures/mistakes.png"
        )

    def figures(self, draw: Any, tested: Tested, names: Sequence[str], title: str) -> dict[str, Any]:
        """Confusion and mistakes; reconstructions of a network that draws, perturbations of one that can draw any
        capsule."""
        true, predicted, scores = (tested.details[name] for name in ("labels", "predictions", "scores"))
        figures = {"confusion": draw.confusion(confusion_matrix(true, predicted, len(names)), names, title)}
        wrong = (predicted != true).nonzero().flatten()
        worst = wrong[scores[wrong].argsort(descending=True, stable=True)][: draw.MOST_MISTAKES]
        figures["mistakes"] = draw.mistakes(
            tested.images(worst.tolist()).cpu() if len(worst) else torch.empty(0, 1, 1, 1),
            *(true[worst], predicted[worst], scores[worst], names, title, (len(wrong), len(true))),
        )
        shown = torch.randperm(len(true), generator=torch.Generator().manual_seed(0))[:SHOWN_RECONSTRUCTIONS]
        images = tested.images(shown.tolist())
        reconstruction = tested.network(images).reconstruction
        if reconstruction is not None:
            figures["reconstructions"] = draw.reconstructions(
                images.cpu(), reconstruction.cpu(), true[shown], predicted[shown], names, title
            )
        if reconstruction is not None and hasattr(tested.network, "decode"):
            examples = _well_drawn(tested, _candidates(true, predicted, len(names)))
            capsules, labels = tested.network(tested.images(examples)).capsules, true[examples]
            if capsules is not None:
                decode, labels = tested.network.decode, labels.to(capsules.device)
                figures["perturbations"] = draw.perturbations(decode, capsules, labels, names, title)
        return figures


def _precision_recall_f1(confusion: Sequence[Sequence[int]], label: int) -> tuple[float, float, float]:
    """Of a class; 0 where there is nothing to divide by."""
    right, tested, predicted = confusion[label][label], sum(confusion[label]), sum(row[label] for row in confusion)
    precision, recall = (right / count if count else 0.0 for count in (predicted, tested))
    return precision, recall, 2 * right / (tested + predicted) if tested + predicted else 0.0


def _candidates(true: Tensor, predicted: Tensor, classes: int) -> list[list[int]]:
    """Numbers of each class's first recognized images; if none is, of its first image. Classes without images have no
    list."""
    found = []
    for label in range(classes):
        in_class = true == label
        recognized = (in_class & (predicted == label)).nonzero().flatten().tolist()
        if in_class.any():
            found.append(recognized[:CANDIDATES] or in_class.nonzero()[0].tolist())
    return found


def _well_drawn(tested: Tested, candidates: Sequence[Sequence[int]]) -> list[int]:
    """Of each list, the image that is drawn with the least squared error for its ink."""
    chosen = []
    for numbers in candidates:
        images = tested.images(numbers)
        errors = (tested.network(images).reconstruction.float() - images).square().flatten(1).sum(1)
        chosen.append(numbers[int((errors / images.square().flatten(1).sum(1).clamp(min=1)).argmin())])
    return chosen
