"""Batches for training and evaluation: cut by index from tensors on the device, and augmented as a whole."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..augment import Augmentation, Draws
from ..augment.mixup import mix
from ..errors import ConfigError
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


class Batches:
    """Iterates over batches: images [batch, channels, height, width], float32 in [0, 1], and labels [batch].

    Several processes share every batch, so that together they see each image once. If the last batch has fewer images
    than there are processes, it is joined to the one before.

    Args:
        split: images and labels.
        batch_size: images per batch, over all processes.
        device: where the images are kept and the batches made.
        rank: number of this process, from 0.
        world_size: number of processes.

    Raises:
        ConfigError: the batches are too small for so many processes.
    """

    def __init__(
        self,
        split: LabelledImages,
        batch_size: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ):
        self.images, self.labels = split.images.to(device), split.labels.to(device)
        if min(batch_size, len(split.labels)) < world_size:
            raise ConfigError(
                f"data.batch_size={batch_size}: too small: each of {world_size} processes needs an image,"
                f" but a batch has {min(batch_size, len(split.labels))}"
            )
        self.rank, self.world_size = rank, world_size
        count = len(split.labels)
        self.sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
        if len(self.sizes) > 1 and self.sizes[-1] < world_size:
            self.sizes[-2:] = [sum(self.sizes[-2:])]

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self._shares(torch.arange(len(self.labels))):
            yield to_float(self.images[rows]), self.labels[rows]

    def _shares(self, order: Tensor) -> Iterator[Tensor]:
        """The rows of each batch that belong to this process."""
        for rows in order.to(self.images.device).split(self.sizes):
            yield rows[self.rank :: self.world_size]


class TrainingBatches(Batches):
    """Shuffles and augments anew each epoch. The random draws depend only on the seed, the epoch and the image.

    What plugins add draws for a whole batch. It depends on the seed, the epoch, which batch of the epoch it is, and the
    process's rank.

    Under mixup, labels are class probabilities, [batch, classes] float32.

    Args:
        augmentation: what is done to the images.
        classes: number of classes.
        seed: fixes order and augmentation.
        epoch: gives the number of the epoch that begins.
    """

    def __init__(self, *args, augmentation: Augmentation, classes: int, seed: int, epoch: Callable[[], int], **kwargs):
        super().__init__(*args, **kwargs)
        self.augmentation, self.classes, self.seed, self.epoch = augmentation, classes, seed, epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        stream = partial(epoch_generator, self.seed, self.epoch())
        count, _, height, width = self.images.shape
        order = torch.randperm(count, generator=stream())
        draws = self.augmentation.draw(count, height, width, stream)
        draws = {kind: drawn.to(self.images.device) for kind, drawn in draws.items()}
        for batch, rows in enumerate(self._shares(order)):
            place = f"batch {batch}, process {self.rank}"
            images = self._augmented(rows, draws, stream, place)
            if self.augmentation.mixup is None:
                yield images, self.labels[rows]
                continue
            others, shares = draws["mixup_with"][rows], draws["mixup_share"][rows]
            images = mix(images, self._augmented(others, draws, stream, f"{place}, mixed in"), shares)
            yield images, mix(self._probabilities(rows), self._probabilities(others), shares)

    def _augmented(self, rows: Tensor, draws: Draws, stream: Callable[..., torch.Generator], place: str) -> Tensor:
        """Images augmented by their own draws, and by random numbers for the batch that has this place."""
        images = self.augmentation(to_float(self.images[rows]), {kind: drawn[rows] for kind, drawn in draws.items()})
        return self.augmentation.apply_added(images, lambda name: stream(f"{name}, {place}", device=self.images.device))

    def _probabilities(self, rows: Tensor) -> Tensor:
        return F.one_hot(self.labels[rows], self.classes).float()
