"""Batches for training and evaluation: cut by index from tensors on the device, augmented as a whole."""

from collections.abc import Callable, Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from .augment import Augmentation
from .config import AugmentConfig, DataConfig
from .errors import ConfigError
from .sources import Labelled, open_source, stratified_split


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers that depend on the seed and the epoch alone, so that an epoch can be drawn again."""
    mixed = np.random.SeedSequence((seed, epoch)).generate_state(1)[0]
    return torch.Generator().manual_seed(int(mixed))


class Batches:
    """Goes over images in batches of (images [batch, channels, height, width] float32 in [0, 1], labels [batch]).

    With several processes, each takes its share of every batch, so that together they go over each image once. A last
    batch with fewer images than processes is joined to the one before, so that none goes without.

    Args:
        split: images and labels.
        batch_size: images per batch, over all processes.
        device: where the images are kept and the batches made.
        rank: this process, counted from 0.
        world_size: how many processes share the batches.
    """

    def __init__(
        self,
        split: Labelled,
        batch_size: int,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ):
        self.images, self.labels = split.images.to(device), split.labels.to(device)
        if min(batch_size, len(split.labels)) < world_size:
            raise ConfigError(
                f"data.batch_size={batch_size}: too small, {world_size} processes share a batch of"
                f" {min(batch_size, len(split.labels))} images"
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
        for rows in order.to(self.images.device).split(self.sizes):
            yield rows[self.rank :: self.world_size]


class TrainingBatches(Batches):
    """Shuffles and augments, anew each epoch; the draws depend on nothing but the seed, the epoch and the image.

    Args:
        augmentation: what is done to the images.
        seed: fixes order and augmentation.
        epoch: tells the number of the epoch that begins.
    """

    def __init__(self, *args, augmentation: Augmentation, seed: int, epoch: Callable[[], int], **kwargs):
        super().__init__(*args, **kwargs)
        self.augmentation, self.seed, self.epoch = augmentation, seed, epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = epoch_generator(self.seed, self.epoch())
        count, _, height, width = self.images.shape
        order = torch.randperm(count, generator=generator)
        draws = self.augmentation.draw(count, height, width, generator).to(self.images.device)
        for rows in self._shares(order):
            yield to_float(self.augmentation(self.images[rows], draws.rows(rows))), self.labels[rows]


def to_float(images: Tensor) -> Tensor:
    """Bytes to float32 in [0, 1]."""
    return images.to(torch.float32) / 255


class ImageDataModule(pl.LightningDataModule):
    """Serves a dataset's training, validation and test images in batches on the trainer's device.

    Args:
        data: which dataset, where, and how it is cut.
        augment: what is done to training images.
        seed: fixes the validation split, the order and the augmentation.
    """

    def __init__(self, data: DataConfig, augment: AugmentConfig | None = None, seed: int = 0):
        super().__init__()
        self.data, self.seed = data, seed
        self.augmentation = Augmentation(**vars(augment)) if augment else Augmentation()
        self.source = open_source(data)
        self.train_split: Labelled | None = None
        self.val_split: Labelled | None = None
        self.test_split: Labelled | None = None

    def prepare_data(self) -> None:
        """Fetch and check the files. Raises DataError."""
        if not self.source.sha256:
            self.source.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Read the images: training and validation for "fit" and "validate", test for "test", all for None."""
        self.prepare_data()
        if stage in ("fit", "validate", None) and self.train_split is None:
            self._split_training_images()
        if stage in ("test", None) and self.test_split is None:
            self.test_split = self.source.test()

    def _split_training_images(self) -> None:
        images, labels = self.source.train()
        height, width = images.shape[2:]
        for key, size in self.augmentation._asdict().items():
            if size > min(height, width):
                raise ConfigError(f"augment.{key}={size}: larger than the images, {height}x{width} pixels")
        if self.data.limit is not None and self.data.limit < len(labels):
            kept = self._held_out("data.limit", labels, self.data.limit)[1]
            images, labels = images[kept], labels[kept]
        val_size = self.data.val_size
        held_out = int(val_size) if val_size >= 1 else round(val_size * len(labels))
        if held_out:
            train, val = self._held_out("data.val_size", labels, held_out)
            self.val_split = Labelled(images[val], labels[val])
            images, labels = images[train], labels[train]
        if self.data.batch_size > len(labels):
            raise ConfigError(
                f"data.batch_size={self.data.batch_size}: larger than the training set, {len(labels):,} images"
            )
        self.train_split = Labelled(images, labels)

    def _held_out(self, key: str, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Indices of those that stay and of `count` that are held out, by class. Raises ConfigError about `key`."""
        classes = len(self.class_names)
        if not classes <= count <= len(labels) - classes:
            raise ConfigError(
                f"{key}={vars(self.data)[key.split('.')[1]]:g}: {count:,} of {len(labels):,} images cannot be taken"
                f" with each of {classes} classes on both sides"
            )
        return stratified_split(labels, count, self.seed)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), known after `setup`."""
        split = self.train_split or self.test_split
        assert split is not None, "setup() comes first"
        channels, height, width = split.images.shape[1:]
        return channels, height, width

    @property
    def title(self) -> str:
        """The dataset's name for people, with a word where the files are not those of the official release."""
        return self.source.name if self.source.official is not False else f"{self.source.name} (not the official files)"

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    @property
    def counts(self) -> dict[str, int]:
        """Images per split, of the splits read so far."""
        splits = {"train": self.train_split, "val": self.val_split, "test": self.test_split}
        return {name: len(split.labels) for name, split in splits.items() if split is not None}

    def train_dataloader(self) -> Batches:
        if self.trainer is not None and self.trainer.overfit_batches:
            return Batches(self.train_split, **self._placement())  # the same few, every epoch
        return TrainingBatches(
            self.train_split,
            **self._placement(),
            augmentation=self.augmentation,
            seed=self.seed,
            epoch=lambda: self.trainer.current_epoch if self.trainer else 0,
        )

    def val_dataloader(self) -> Batches | list:
        return Batches(self.val_split, **self._placement()) if self.val_split else []

    def test_dataloader(self) -> Batches:
        return Batches(self.test_split, **self._placement())

    def _placement(self) -> dict:
        placement = {"batch_size": self.data.batch_size}
        if self.trainer is None:
            return placement
        return placement | {
            "device": self.trainer.strategy.root_device,
            "rank": self.trainer.global_rank,
            "world_size": self.trainer.world_size,
        }
