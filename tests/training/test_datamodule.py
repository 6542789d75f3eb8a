"""Claims about the batches that Lightning is given: which images are augmented, and which are read when."""

import pytest
import torch

from capsnet.errors import ConfigError
from capsnet.lightning import KMNISTDataModule


def digits(*overrides, stage=None):
    data = KMNISTDataModule("data=digits", "data.batch_size=128", "augment.max_shift=1", "seed=3", *overrides)
    data.setup(stage)
    return data


def test_only_training_images_are_augmented():
    data = digits()
    for split, batches in (
        (data.dataset.val_split, data.val_dataloader()),
        (data.dataset.test_split, data.test_dataloader()),
    ):
        assert torch.equal(torch.cat([images for images, _ in batches]), split.images / 255)
    batches = list(data.train_dataloader())
    images, labels = torch.cat([i for i, _ in batches]), torch.cat([targets.labels for _, targets in batches])
    originals = data.dataset.train_split
    assert torch.equal(labels.bincount(), originals.labels.bincount())
    assert not torch.equal(images.sum(0), (originals.images / 255).sum(0))


def test_only_the_images_of_a_stage_are_read():
    assert digits(stage="fit").dataset.test_split is None
    assert digits(stage="test").dataset.train_split is None


def test_a_cutout_larger_than_the_images_is_refused():
    with pytest.raises(ConfigError, match=r"augment.cutout_size=29: larger than the images, 28x28"):
        digits("augment.cutout_size=29")


def test_a_batch_larger_than_the_training_set_is_refused_with_one_that_fits():
    message = r"data.batch_size=2000: larger than the training set, 1,293 images; set data.batch_size=1024"
    with pytest.raises(ConfigError, match=message):
        digits("data.batch_size=2000", stage="fit")
