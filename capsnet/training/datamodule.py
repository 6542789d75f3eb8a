"""A dataset's splits as the batches that Lightning asks for."""

from typing import Any

import pytorch_lightning as pl

from ..augment import Augmentation
from ..data.batches import Batches, Composition, TrainingBatches
from ..data.dataset import Dataset
from ..errors import ConfigError


class ImageDataModule(pl.LightningDataModule):
    """Serves a dataset's training, validation and test images in batches on the trainer's device.

    Args:
        dataset: reads the images.
        batch_size: images per optimizer step, over all processes.
        augmentation: what is done to training images.
        seed: fixes their order and augmentation.
        composition: how images become batches, of a task; None: each is an item.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        augmentation: Augmentation,
        seed: int = 0,
        composition: Composition | None = None,
    ):
        super().__init__()
        self.dataset, self.batch_size, self.augmentation, self.seed = dataset, batch_size, augmentation, seed
        self.composition = composition

    def setup(self, stage: str | None = None) -> None:
        """Read training and validation images for "fit" and "validate", test images for "test", all for None.

        Raises:
            ConfigError: there are fewer training images than a batch has, or an augmentation does not fit them.
            DataError: images cannot be read.
        """
        if stage in ("fit", "validate", None):
            self.dataset.read_training_images()
            count = self.dataset.counts["train"]
            if self.batch_size > count:
                raise ConfigError(
                    f"data.batch_size={self.batch_size}: larger than the training set, {count:,} images;"
                    f" set data.batch_size={1 << (count.bit_length() - 1)}"
                )
            self.augmentation.check_fits(*self.dataset.image_shape[1:])
        if stage in ("test", None):
            self.dataset.read_test_images()

    def train_dataloader(self) -> Batches:
        if self.trainer is not None and self.trainer.overfit_batches:
            return Batches(self.dataset.train_split, **self._placement())  # the same few in every epoch
        return TrainingBatches(
            self.dataset.train_split,
            **self._placement(),
            augmentation=self.augmentation,
            seed=self.seed,
            epoch=lambda: self.trainer.current_epoch if self.trainer else 0,
        )

    def val_dataloader(self) -> Batches | list:
        return Batches(self.dataset.val_split, **self._placement()) if self.dataset.val_split else []

    def test_dataloader(self) -> Batches:
        return Batches(self.dataset.test_split, **self._placement())

    def _placement(self) -> dict[str, Any]:
        placement: dict[str, Any] = {
            "batch_size": self.batch_size,
            "classes": len(self.dataset.class_names),
            "composition": self.composition,
        }
        if self.trainer is None:
            return placement
        return placement | {
            "device": self.trainer.strategy.root_device,
            "rank": self.trainer.global_rank,
            "world_size": self.trainer.world_size,
        }
