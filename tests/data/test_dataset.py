"""Claims about a dataset's splits: what is held out, what is fixed by the seed, and what is recorded."""

import hashlib

import pytest
import torch

from capsnet.data.dataset import Dataset
from capsnet.data.source import LabelledImages, Source
from capsnet.errors import ConfigError
from capsnet.settings.parse import config_from_dict


def digits(seed=3, **settings):
    dataset = config_from_dict({"data": {"name": "digits", **settings}}).data.build(seed)
    dataset.read_training_images()
    return dataset


def test_validation_images_come_out_of_the_training_images_fixed_by_the_seed():
    data, again, other = digits(), digits(), digits(seed=4)
    data.read_test_images()
    assert data.counts == {"train": 1293, "val": 144, "test": 360}
    assert torch.equal(data.val_split.images, again.val_split.images)
    assert not torch.equal(data.val_split.images, other.val_split.images)


def test_no_image_is_in_two_splits_and_none_is_lost():
    data, whole = digits(), digits(val_size=0)
    assert not whole.val_split

    def images_of(*splits):
        return sorted(image.numpy().tobytes() for split in splits for image in split.images)

    assert images_of(data.train_split, data.val_split) == images_of(whole.train_split)


def test_what_else_is_known_of_an_image_stays_with_it_when_images_are_held_out():
    class Numbered(Source):
        class_names = ("a", "b")

        def train(self):
            numbers = torch.arange(40)
            images = numbers.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 3, 3)
            return LabelledImages(images, numbers % 2, {"number": numbers})

        def test(self):
            return self.train()

    data = Dataset(Numbered(), "numbered", val_size=10, limit=30)
    data.read_training_images()
    assert data.counts == {"train": 20, "val": 10}
    for split in (data.train_split, data.val_split):
        assert torch.equal(split.extras["number"], split.images[:, 0, 0, 0].long())


def test_test_images_do_not_depend_on_the_seed():
    assert torch.equal(digits(seed=0).read_test_images().images, digits(seed=1).read_test_images().images)


def test_test_images_are_not_read_for_training():
    assert digits().test_split is None


def test_nothing_is_read_before_it_is_asked_for():
    dataset = config_from_dict({"data": {"name": "kmnist", "root": "/nowhere", "download": False}}).data.build()
    assert (dataset.counts, dataset.train_split, dataset.test_split) == ({}, None, None)


def test_val_size_may_be_a_count_or_nothing():
    assert digits(val_size=50).counts["val"] == 50
    assert "val" not in digits(val_size=0).counts


def test_limit_keeps_so_many_training_images_and_all_test_images():
    data = digits(limit=200)
    data.read_test_images()
    assert data.counts == {"train": 180, "val": 20, "test": 360}


def test_a_limit_keeps_every_class_in_proportion_and_one_above_the_images_changes_nothing():
    limited, whole = digits(limit=200, val_size=0), digits(limit=10_000, val_size=0)
    counts, of_all = (torch.bincount(data.train_split.labels).double() for data in (limited, whole))
    assert of_all.sum() == 1437
    assert (counts - of_all * 200 / 1437).abs().max() < 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"limit": 5},
            "data.limit=5: cannot split off 5 of 1,437 images so that both parts have images of all 10 classes",
        ),
        ({"limit": 5}, "; set data.limit=10 or more, or null"),
        ({"val_size": 1437}, "data.val_size=1437: cannot split off 1,437 of 1,437 images"),
        ({"val_size": 1437}, "; set data.val_size=1427 or less, or 0"),
        ({"val_size": 0.001}, "data.val_size=0.001: cannot split off 1 of 1,437 images"),
        ({"val_size": 0.0001}, "data.val_size=0.0001: .*; set data.val_size=10 or more, or 0"),
    ],
)
def test_sizes_that_leave_nothing_to_train_or_validate_on_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        digits(**settings)


def test_shape_and_classes_are_those_of_the_images():
    data = digits()
    assert data.image_shape == (1, 28, 28)
    assert data.class_names == tuple("0123456789")
    assert data.class_characters is None


class Striped(Source):
    """Three-channel images of two classes, without digests of its own."""

    class_names = ("across", "down")

    def __init__(self, count):
        self.count = count

    def train(self):
        images = torch.arange(self.count * 3 * 4 * 5).view(self.count, 3, 4, 5) % 251
        return images.to(torch.uint8), torch.arange(self.count) % 2

    def test(self):
        return self.train()[0][:4], torch.tensor([0, 1, 1, 1])


@pytest.fixture
def stripes():
    return Dataset(Striped(20), "stripes", val_size=4)


def sha256(images, labels) -> str:
    return hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()


def test_a_source_without_digests_gets_those_of_its_images_and_labels(stripes):
    stripes.read_training_images()
    stripes.read_test_images()
    record = stripes.record()
    expected = {"train": sha256(*Striped(20).train()), "test": sha256(*Striped(20).test())}
    assert record["files"] == expected
    listed = f"{expected['test']}  test\n{expected['train']}  train\n"
    assert record["sha256"] == hashlib.sha256(listed.encode()).hexdigest()


def test_the_record_has_name_counts_and_what_is_known_of_the_release(stripes):
    stripes.read_training_images()
    record = {key: value for key, value in stripes.record().items() if key not in ("sha256", "files")}
    brightness = record.pop("border_brightness")
    assert record == {
        "name": "stripes",
        "official": None,
        "train": 16,
        "val": 4,
        "image_shape": (3, 4, 5),
        "class_names": ("across", "down"),
    }
    edges = torch.ones(4, 5, dtype=torch.bool)
    edges[1:-1, 1:-1] = False
    means = stripes.train_split.images[:, :, edges].double().mean((1, 2)) / 255
    assert brightness == pytest.approx((float(means.mean()), float(means.std(correction=0))), abs=1e-4)
    assert stripes.image_shape == (3, 4, 5)


def test_the_title_says_if_the_files_are_not_the_official_ones(kmnist_root):
    dataset = config_from_dict({"data": {"root": str(kmnist_root)}}).data.build()
    assert dataset.title == "kmnist"
    dataset.read_training_images()
    assert dataset.title == "kmnist (not the official files)"
    assert dataset.record()["official"] is False
    assert digits().title == "digits"
