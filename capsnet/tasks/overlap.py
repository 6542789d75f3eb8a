"""Two characters on top of each other (Sabour et al. 2017, section 6): both are to be named, and each to be drawn."""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..augment import Augmentation
from ..augment.ground import ground_color, on_ground
from ..augment.shift import shift
from ..data.batches import Generators, Sample, epoch_generator
from ..errors import ConfigError
from ..metrics.counts import confusion_matrix
from ..metrics.pairs import Pairs, best
from ..output import Output, Targets
from ..text import counted
from .task import MOST_CLASSES, WORST_CLASSES, Network, Task, Tested, worst_classes, worst_mistake

SEED = 0
"""Of the pairs that are scored, and of those that are held out: the same for everyone, whatever the run's seed."""
INK = 0.5
"""Brightness from which a pixel counts as ink."""
LIGHT = 0.65
"""Mean brightness of the borders from which on images have a light ground; a dark one is below 1 minus it."""
OVERLAPS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 1.0)
"""Ends of the bins in which pairs are counted by how much their ink overlaps: intersection over union."""
EXAMPLES = 12
"""Pairs in the figure that are right, and as many that are wrong."""
MOST_PAIRS = 200
"""Of classes, up to which the figure of the confusion has a row for each; otherwise for each class."""


class Overlap(Task):
    """Two single images of different classes and of the same split are laid over each other.

    Each is put on a larger canvas and moved by whole pixels; the ink is added, up to 1. Augmentation comes before.
    Ink is brightness, on black; on a light ground, it is what a pixel lacks of the brightness of its image's border.
    In training, every image is paired anew in each epoch. In validation and test, the pairs are always the same.

    Args:
        shift: pixels by which each character is moved at most, along each axis.
        pad: pixels of canvas on each side of the single images; None: as many as `shift`, so that nothing is cut off.
        pairs_per_image: training pairs in an epoch of which an image is the first.
        test_pairs_per_image: the same in validation and test.
        train: "pairs", or "single": the training has single characters on the canvas, and only the test has pairs.
        held_out_pairs: share of the pairs of classes that no training image shows.
        dark_ink: ink is dark on a light ground, as on paper; otherwise it is bright on black.
    """

    singles = 2

    def __init__(
        self,
        shift: int = 4,
        pad: int | None = None,
        pairs_per_image: int = 1,
        test_pairs_per_image: int = 5,
        train: str = "pairs",
        held_out_pairs: float = 0.0,
        dark_ink: bool = False,
    ):
        self.dark_ink, self._ground_is_known = dark_ink, False
        self.shift, self.pad = shift, shift if pad is None else pad
        self.pairs_per_image, self.test_pairs_per_image = pairs_per_image, test_pairs_per_image
        self.train, self.held_out_pairs = train, held_out_pairs

    def image_shape(self, single: tuple[int, int, int]) -> tuple[int, int, int]:
        channels, height, width = single
        return channels, height + 2 * self.pad, width + 2 * self.pad

    def held_out(self, classes: int) -> Tensor:
        """Which two classes are never together in training, [classes, classes] bool."""
        return held_out_pairs(classes, self.held_out_pairs)

    def plan(
        self,
        labels: Tensor,
        classes: int,
        augmentation: Augmentation | None = None,
        generator_of: Generators | None = None,
    ) -> dict[str, Tensor]:
        """For each item the rows of its two images, and by how many pixels each is moved."""
        training = generator_of is not None
        rows = torch.arange(len(labels)).repeat(self.pairs_per_image if training else self.test_pairs_per_image)
        generator = generator_of("pairs") if generator_of is not None else epoch_generator(SEED, 0, "pairs")
        if training and self.train == "single":
            return {"row": rows, "shift": self._shifts(len(rows), generator)}
        different = ~torch.eye(classes, dtype=torch.bool)
        allowed = different & ~self.held_out(classes) if training else different
        others = partners(labels, rows, allowed, generator)
        shifts = [self._shifts(len(rows), generator) for _ in range(2)]
        return {"row": rows, "shift": shifts[0], "other row": others, "other shift": shifts[1]}

    def _shifts(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(-self.shift, self.shift + 1, (count, 2), generator=generator)

    def compose(self, sample: Sample, items: dict[str, Tensor], classes: int) -> tuple[Tensor, Targets]:
        image, label = sample(items["row"])
        self._refuse_other_ground(image)
        images, labels = [self._on_canvas(image, items["shift"])], [label]
        if "other row" in items:
            image, label = sample(items["other row"])
            images.append(self._on_canvas(image, items["other shift"]))
            labels.append(label)
        drawn = torch.stack(images, 1)
        return self._merged(drawn), Targets(torch.stack(labels, 1), drawn)

    def _refuse_other_ground(self, images: Tensor) -> None:
        """Raise ConfigError if the first images that come have their ink on the other ground."""
        if self._ground_is_known:
            return
        self._ground_is_known, brightness = True, float(ground_color(images).mean())
        if (1 - brightness if self.dark_ink else brightness) > LIGHT:
            found, key = ("dark", "false") if self.dark_ink else ("light", "true")
            raise ConfigError(f"task=overlap: the images have a {found} ground; set task.dark_ink={key}")

    def _ink(self, drawn: Tensor) -> Tensor:
        """How much ink there is at each place of some images, [batch, k, channels, height, width] in [0, 1]."""
        return (1 - drawn / _ground(drawn)).clamp(0, 1) if self.dark_ink else drawn

    def _on_canvas(self, images: Tensor, shifts: Tensor) -> Tensor:
        def moved(images: Tensor) -> Tensor:
            return shift(F.pad(images, [self.pad] * 4), shifts)

        return on_ground(images, moved) if self.dark_ink else moved(images)

    def _merged(self, drawn: Tensor) -> Tensor:
        """The sum of the ink in an item, [batch, k, channels, height, width], up to 1; on the mean of the grounds."""
        ink = self._ink(drawn).sum(1).clamp(max=1)
        return (1 - ink) * _ground(drawn).mean(1) if self.dark_ink else ink

    def arrange(self, singles: Tensor, shifts: Tensor) -> Tensor:
        return self._merged(self._on_canvas(singles, shifts)[None])[0]

    def output(self, network: Network, images: Tensor, targets: Targets, choose: bool = False) -> Output:
        """The decoder runs once for each of the two, with shared weights.

        Where the network chooses, a class that was named and is there comes in its place, so that each drawing is held
        against its own single image.
        """
        if choose:
            output = network(images)
            labels = in_order_of(self.answers(output.scores), targets.labels)
            return output._replace(reconstruction=drawings(network, output, labels))
        output = network(images, targets.labels[:, 0])
        return output._replace(reconstruction=drawings(network, output, targets.labels, [output.reconstruction]))

    def answers(self, scores: Tensor) -> Tensor:
        return best(scores, self.singles)

    def confidences(self, output: Output, logits: bool) -> Tensor:
        """Lengths of class capsules; or, of logits, the probability of each class by itself."""
        return output.scores.sigmoid() if logits and output.capsules is None else output.scores

    def metrics(self, chosen: Mapping[str, Any], class_counts: Sequence[int] | None = None) -> dict[str, Any]:
        """Exact match and characters one by one; and those that were chosen."""
        return {"pairs": Pairs(self.held_out if self.held_out_pairs else None), **chosen}

    def details(self, output: Output, targets: Targets, logits: bool) -> dict[str, Tensor]:
        """True classes; the two that were named, in the same order, and their scores; how much the ink overlaps; and
        the mean squared error of each drawing."""
        answers = in_order_of(self.answers(output.scores), targets.labels)
        details = {
            "labels": targets.labels,
            "answers": answers,
            "scores": self.confidences(output, logits).gather(1, answers).float(),
            "overlap": ink_overlap(self._ink(targets.drawn)),
        }
        if output.reconstruction is not None:
            details["errors"] = (output.reconstruction.float() - targets.drawn).square().mean((2, 3, 4))
        return details

    def report(self, tested: Tested) -> dict[str, Any]:
        """Exact matches by overlap; the drawings' errors; by class, how often it was found and what was named instead;
        and which pairs of classes were held out."""
        labels, answers = tested.details["labels"], tested.details["answers"]
        names = tested.class_names
        exact = (labels == answers).all(1)
        confusion = confusion_matrix(labels.flatten(), answers.flatten(), len(names))
        found = zip(names, confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
        return {
            "pairs": len(labels),
            "by_overlap": by_overlap(tested.details["overlap"], exact),
            **_errors(tested.details),
            "per_class_found": {name: hits / all_of_it if all_of_it else None for name, hits, all_of_it in found},
            "class_names": list(names),
            "confusion": confusion.tolist(),
            "held_out_pairs": [[names[first], names[second]] for first, second in self._held_out_list(len(names))],
        }

    def _held_out_list(self, classes: int) -> list[list[int]]:
        return self.held_out(classes).triu().nonzero().tolist()

    def rows(self, report: Mapping[str, Any]) -> dict[str, str]:
        """Exact match and characters one by one, exact match by overlap, and each class's worst confusion."""
        rows = {
            "exact match": f"{report['exact_match']:.2%} of {report['pairs']:,} pairs",
            "per character": f"{report['per_character']:.2%}, not comparable with exact match",
        }
        if "held_out_exact_match" in report:
            apart = f"{report['held_out_exact_match']:.2%}, exact match of {len(report['held_out_pairs'])}"
            rows["exact match"] = f"{report['exact_match']:.2%} of the other pairs of classes"
            rows["held-out pairs"] = f"{apart} pairs of classes that are held out"
        if "reconstruction_errors" in report:
            errors = (f"{rank} {value:.4f}" for rank, value in report["reconstruction_errors"].items())
            rows["drawings' errors"] = f"{', '.join(errors)} (mean squares of the two that were named)"
        for overlap in report["by_overlap"]:
            some = overlap["pairs"]
            share = f"{overlap['exact_match']:.2%} of {some:,} pairs" if some else "no pairs"
            rows[f"  overlap {overlap['from']:.0%} to {overlap['to']:.0%}"] = share
        names = report["class_names"]
        shares = list(report["per_class_found"].values())
        if len(names) > MOST_CLASSES:
            rows["classes"] = f"{len(names)}, of which these {WORST_CLASSES} are found worst:"
        for label in worst_classes(shares):
            share, often = shares[label], worst_mistake(names, label, report["confusion"][label])
            rows[f"  {names[label]}"] = "no pairs" if share is None else f"{share:7.2%}{often}"
        return rows

    def figures(self, draw: Any, tested: Tested, names: Sequence[str], title: str) -> dict[str, Any]:
        """Right and wrong pairs with what was drawn of them, and which pairs are taken for which."""
        labels, answers, scores = (tested.details[name] for name in ("labels", "answers", "scores"))
        exact = (labels == answers).all(1)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
        shown = torch.cat([order[exact[order]][:EXAMPLES], order[~exact[order]][:EXAMPLES]])
        images = tested.images(shown.tolist())
        drawn = drawings(tested.network, tested.network(images), answers[shown].to(images.device))
        figures = {
            "pairs": draw.pairs(
                images.cpu(),
                None if drawn is None else drawn.cpu(),
                *(labels[shown], answers[shown], scores[shown], names, title),
                (int(exact.sum()), len(exact)),
                on_light=self.dark_ink,
            )
        }
        pairs = list(itertools.combinations(range(len(names)), 2))
        if len(pairs) > MOST_PAIRS:
            counts = confusion_matrix(labels.flatten(), answers.flatten(), len(names))
            return {**figures, "confusion": draw.confusion(counts, names, title)}
        number = torch.zeros(len(names), len(names), dtype=torch.int64)
        for place, (first, second) in enumerate(pairs):
            number[first, second] = number[second, first] = place
        counts = confusion_matrix(*(number[some[:, 0], some[:, 1]] for some in (labels, answers)), len(pairs))
        pair_names = [f"{names[first]} + {names[second]}" for first, second in pairs]
        return {**figures, "confusion": draw.confusion(counts, pair_names, f"{title}, pairs")}


def _ground(drawn: Tensor) -> Tensor:
    """The color of each image's border, [batch, k, channels, height, width] -> [batch, k, channels, 1, 1], not 0."""
    return ground_color(drawn.flatten(0, 1)).unflatten(0, drawn.shape[:2]).clamp(min=1 / 255)


def drawings(network: Any, output: Output, labels: Tensor, drawn: Sequence[Tensor | None] = ()) -> Tensor | None:
    """What the decoder draws of the capsules of some classes.

    Args:
        network: that gave the output.
        output: its capsules are drawn.
        labels: the classes, [batch, k].
        drawn: of the first of these classes, what is drawn already.

    Returns:
        [batch, k, *image_shape]; None for a network that cannot draw any capsule that it is asked for.
    """
    if output.capsules is None or output.reconstruction is None or not hasattr(network, "decode"):
        return None
    others = labels.unbind(1)[len(drawn) :]
    return torch.stack([*drawn, *(network.decode(output.capsules, label) for label in others)], 1)


def in_order_of(answers: Tensor, labels: Tensor) -> Tensor:
    """The two classes that were named, [batch, 2], swapped where one of them then comes in its place among `labels`."""
    swapped = (answers.flip(1) == labels).any(1) & ~(answers == labels).any(1)
    return torch.where(swapped[:, None], answers.flip(1), answers)


def partners(labels: Tensor, rows: Tensor, allowed: Tensor, generator: torch.Generator) -> Tensor:
    """For each of some images, another one at random, so that their classes may be together.

    Args:
        labels: of all images, [n].
        rows: of the images that need another, [items].
        allowed: which classes may be together, [classes, classes] bool.
        generator: on the CPU.

    Returns:
        Rows, [items].

    Raises:
        ConfigError: there is no other image for some.
    """
    present = labels.unique()
    if not allowed[present][:, present].any(1).all():
        raise ConfigError("task=overlap: a class has no other class to be paired with; have more classes of images")
    others = torch.randint(len(labels), rows.shape, generator=generator)
    while len(wrong := (~allowed[labels[rows], labels[others]]).nonzero()[:, 0]):
        others[wrong] = torch.randint(len(labels), wrong.shape, generator=generator)
    return others


@cache
def held_out_pairs(classes: int, share: float) -> Tensor:
    """Which two classes are never together in training, the same for everyone; each class is in about as many pairs.

    Returns:
        [classes, classes] bool, symmetric. Leave it as it is.

    Raises:
        ConfigError: no pair of classes would be held out, or a class would have none left.
    """
    table = torch.zeros(classes, classes, dtype=torch.bool)
    pairs = list(itertools.combinations(range(classes), 2))
    count = round(share * len(pairs))
    if share and (classes < 3 or not count):
        make = f"{classes} classes make {counted(len(pairs), 'pair')}"
        raise ConfigError(f"task.held_out_pairs={share:g}: {make}; hold out {'none' if classes < 3 else 'more'}")
    order = torch.randperm(len(pairs), generator=epoch_generator(SEED, 0, "held out")).tolist()
    left = [pairs[place] for place in order]
    times = [0] * classes
    for _ in range(count):
        first, second = min(left, key=lambda pair: times[pair[0]] + times[pair[1]])
        left.remove((first, second))
        table[first, second] = table[second, first] = True
        times[first] += 1
        times[second] += 1
    if max(times) == classes - 1:
        raise ConfigError(f"task.held_out_pairs={share:g}: a class would have no pair left to train; hold out fewer")
    return table


def ink_overlap(drawn: Tensor) -> Tensor:
    """How much of the ink two images share, [batch, 2, channels, height, width] -> [batch]: intersection over union."""
    first, second = (drawn.amax(2) >= INK).unbind(1)
    both, either = ((first & second).sum((1, 2)), (first | second).sum((1, 2)))
    return both / either.clamp(min=1)


def by_overlap(overlap: Tensor, exact: Tensor) -> list[dict[str, Any]]:
    """Pairs and exact matches in each bin of `OVERLAPS`, from [items] and [items] bool."""
    bins = torch.bucketize(overlap, torch.tensor(OVERLAPS[1:-1]), right=True)
    found = []
    for number, (low, high) in enumerate(itertools.pairwise(OVERLAPS)):
        inside = exact[bins == number]
        share = float(inside.double().mean()) if len(inside) else None
        found.append({"from": low, "to": high, "pairs": len(inside), "exact_match": share})
    return found


def _errors(details: dict[str, Tensor]) -> dict[str, Any]:
    """Mean squared errors of the drawings of the class with the largest score, and of the second one."""
    if "errors" not in details:
        return {}
    order = details["scores"].argsort(1, descending=True)
    first, second = details["errors"].gather(1, order).double().mean(0).tolist()
    return {"reconstruction_errors": {"first": first, "second": second}}
