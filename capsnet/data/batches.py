"""Batches for training and evaluation: cut by index from tensors on the device, and augmented as a whole."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..augment import Augmentation, Draws
from ..errors import ConfigError
from ..output import Targets
from .source import LabelledImages


def epoch_generator(seed: int, epoch: int, stream: str = "", device: torch.device | str = "cpu") -> torch.Generator:
    """Random numbers that depend only on the seed, the epoch and the stream, so that an epoch can be drawn again.

    On a GPU they are others than on the CPU.
    """
    mixed = np.random.SeedSequence((seed, epoch, *stream.encode())).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(mixed))


def to_float(images: Tensor) -> Tensor:
    """Bytes to float32 in [0, 1]."""
    return images.to(torch.float32) / 255


Sample = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows of a split, [n] -> their images, [n, channels, height, width] float32 in [0, 1], and labels, [n]. In training,
the images are augmented; each row by the same draws whenever it is asked for in an epoch."""
Generators = Callable[[str], torch.Generator]
"""A name -> random numbers that depend on the seed, the epoch and this name."""


class Composition:
    """How single images become the items of an epoch. Here, each image is an item by itself."""

    def image_shape(self, single: tuple[int, int, int]) -> tuple[int, int, int]:
        """(channels, height, width) of an item's image, which is what the network sees, from that of single images."""
        return single

    def plan(
        self,
        labels: Tensor,
        classes: int,
        augmentation: Augmentation | None = None,
        generator_of: Generators | None = None,
    ) -> dict[str, Tensor]:
        """Everything that is drawn for an epoch, for all items at once, so that it depends on no batch size.

        Args:
            labels: of the single images, [n].
            classes: number of classes.
            augmentation: of the training images; None: the items are to be scored, and are the same each time.
            generator_of: random numbers; None if there is no augmentation.

        Returns:
            What `compose` needs, by name, each [items, ...].
        """
        return {"row": torch.arange(len(labels))}

    def compose(self, sample: Sample, items: dict[str, Tensor], classes: int) -> tuple[Tensor, Targets]:
        """A batch.

        Args:
            sample: gives single images.
            items: of the plan, those of this batch.
            classes: number of classes.

        Returns:
            Images, [batch, channels, height, width] float32 in [0, 1], and what is wanted of them.
        """
        images, labels = sample(items["row"])
        return images, Targets(labels, images)


def with_extras(targets: Targets, extras: Mapping[str, Tensor], rows: Tensor) -> Targets:
    """What is wanted of a batch, with what else is known of each item's first image; what a task says counts first.

    Args:
        targets: of the batch.
        extras: of all single images, by name.
        rows: of the first images, [batch].
    """
    if not extras:
        return targets
    return targets._replace(extras={name: values[rows] for name, values in extras.items()} | (targets.extras or {}))


class Batches:
    """Iterates over batches: images [batch, channels, height, width], float32 in [0, 1], and their targets.

    Several processes share every batch, so that together they see each item once. If the last batch has fewer items
    than there are processes, or than `least_share` of a batch, it is joined to the one before.

    Args:
        split: images and labels.
        batch_size: items per batch, over all processes.
        device: where the images are kept and the batches made.
        rank: number of this process, from 0.
        world_size: number of processes.
        classes: number of classes.
        composition: how images become items, of a task; None: each is one.

    Raises:
        ConfigError: the batches are too small for so many processes.
    """

    least_share = 0.0

    def __init__(
        self,
        split: LabelledImages,
        batch_size: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        classes: int = 0,
        composition: Composition | None = None,
    ):
        self.images, self.labels = split.images.to(device), split.labels.to(device)
        self.extras = {name: values.to(device) for name, values in split.extras.items()}
        self.rank, self.world_size, self.classes = rank, world_size, classes
        self.composition = composition or Composition()
        count = self._item_count(split.labels)
        if min(batch_size, count) < world_size:
            raise ConfigError(
                f"data.batch_size={batch_size}: too small: each of {world_size} processes needs an image,"
                f" but a batch has {min(batch_size, count)}"
            )
        self.sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
        if len(self.sizes) > 1 and self.sizes[-1] < max(world_size, self.least_share * batch_size):
            self.sizes[-2:] = [sum(self.sizes[-2:])]

    def _item_count(self, labels: Tensor) -> int:
        self._plan = self._on_device(self.composition.plan(labels, self.classes))
        return len(self._plan["row"])

    def _on_device(self, plan: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: drawn.to(self.images.device) for name, drawn in plan.items()}

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, Targets]]:
        for chosen in self._shares(torch.arange(sum(self.sizes))):
            yield self._composed(self._sample, self._plan, chosen)

    def take(self, numbers: Sequence[int]) -> tuple[Tensor, Targets]:
        """These items as one batch."""
        chosen = torch.tensor(numbers, dtype=torch.int64, device=self.images.device)
        return self._composed(self._sample, self._plan, chosen)

    def _composed(self, sample: Sample, plan: dict[str, Tensor], chosen: Tensor) -> tuple[Tensor, Targets]:
        """A batch of some of the items that are planned."""
        items = {name: drawn[chosen] for name, drawn in plan.items()}
        images, targets = self.composition.compose(sample, items, self.classes)
        return images, with_extras(targets, self.extras, items["row"])

    def _sample(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return to_float(self.images[rows]), self.labels[rows]

    def _shares(self, order: Tensor) -> Iterator[Tensor]:
        """The items of each batch that belong to this process."""
        for chosen in order.to(self.images.device).split(self.sizes):
            yield chosen[self.rank :: self.world_size]


class TrainingBatches(Batches):
    """Shuffles and augments anew each epoch. The random draws depend only on the seed, the epoch and the image.

    A last batch of less than an eighth is joined to the one before: the statistics of batch normalization over two
    images say little, and with few images an epoch has few steps.

    What plugins add draws for a whole batch. It depends on the seed, the epoch, which batch of the epoch it is, and the
    process's rank.

    Args:
        augmentation: what is done to the images.
        seed: fixes order and augmentation.
        epoch: gives the number of the epoch that begins.
    """

    least_share = 1 / 8

    def __init__(self, *args, augmentation: Augmentation, seed: int, epoch: Callable[[], int], **kwargs):
        self.augmentation, self.seed, self.epoch = augmentation, seed, epoch
        super().__init__(*args, **kwargs)

    def _item_count(self, labels: Tensor) -> int:
        stream = partial(epoch_generator, self.seed, 0)
        return len(self.composition.plan(labels, self.classes, self.augmentation, stream)["row"])

    def __iter__(self) -> Iterator[tuple[Tensor, Targets]]:
        stream = partial(epoch_generator, self.seed, self.epoch())
        count, _, height, width = self.images.shape
        order = torch.randperm(sum(self.sizes), generator=stream())
        plan = self._on_device(self.composition.plan(self.labels.cpu(), self.classes, self.augmentation, stream))
        draws = self._on_device(self.augmentation.draw(count, height, width, stream))
        for batch, chosen in enumerate(self._shares(order)):
            sample = self._augmented(draws, stream, f"batch {batch}, process {self.rank}")
            yield self._composed(sample, plan, chosen)

    def _augmented(self, draws: Draws, stream: Callable[..., torch.Generator], place: str) -> Sample:
        """Gives images augmented by their own draws, and by random numbers for the batch that has this place."""
        asked = itertools.count()

        def sample(rows: Tensor) -> tuple[Tensor, Tensor]:
            times = next(asked)
            images = self.augmentation(
                to_float(self.images[rows]), {kind: drawn[rows] for kind, drawn in draws.items()}
            )
            here = f"{place}, {times}" if times else place
            images = self.augmentation.apply_added(
                images, lambda name: stream(f"{name}, {here}", device=self.images.device)
            )
            return images, self.labels[rows]

        return sample
