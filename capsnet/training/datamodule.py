"""A dataset's splits as the batches that Lightning asks for."""

from typing import Any

import pytorch_lightning as pl

from ..data.batches import Batches, TrainingBatches
from ..errors import ConfigError
from ..settings.composing import compose
from ..settings.config import Config


class KMNISTDataModule(pl.LightningDataModule):
    """Serves the images of Kuzushiji-MNIST, or of any `data=NAME`, in batches on the Trainer's device.

    Args:
        overrides: settings as on the command line, such as "data=kmnist_7k", "augment=shift", "seed=1".
        config: the whole config in their place, as `capsnet.compose` gives it.

    Raises:
        ConfigError: a setting is wrong.
    """

    def __init__(self, *overrides: str, config: Config | None = None):
        super().__init__()
        self.config = config or compose(*overrides)
        self.dataset = self.config.data.build(self.config.seed)
        self.batch_size, self.seed = self.config.data.batch_size, self.config.seed
        self.augmentation, self.composition = self.config.augment.build(), self.config.task.build()

    def setup(self, stage: str | None = None) -> None:
        """Read training and validation images for "fit" and "validate", test images for "test" and "predict", all for
        None.

        Raises:
            ConfigError: there are fewer training images than a batch has, or an augmentation does not fit them.
            DataError: images cannot be read.
        """
        if stage in ("fit", "validate", None):
            self.dataset.read_training_images()
            count = sum(self.train_dataloader().sizes)
            if self.batch_size > count:
                raise ConfigError(
                    f"data.batch_size={self.batch_size}: larger than the training set, {count:,} images;"
                    f" set data.batch_size={1 << (count.bit_length() - 1)}"
                )
            self.augmentation.check_fits(*self.dataset.image_shape[1:])
        if stage in ("test", "predict", None):
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

    def predict_dataloader(self) -> Batches:
        return self.test_dataloader()

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
