"""Claims about what a dataset may give: images and labels of the right form, or one line that says what is wrong."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from capsnet import LabelledImages, Source
from capsnet.data.source import as_source, digest, read_part
from capsnet.errors import DataError

IMAGES, LABELS = torch.arange(4 * 3 * 5 * 6, dtype=torch.int64).view(4, 3, 5, 6).to(torch.uint8), torch.arange(4) % 2


def read(given, part="train"):
    """Read a source of two classes that gives this."""
    return read_part(SimpleNamespace(class_names=("a", "b"), **{part: lambda: given}), part, "mine")


class Least(Source):
    """A source that replaces no default."""

    class_names = ("a", "b")

    def train(self):
        return IMAGES, LABELS

    def test(self):
        return IMAGES, LABELS


class TestSource:
    def test_has_a_default_for_all_but_the_images_and_the_names_of_the_classes(self):
        source = Least()
        source.prepare()
        source.read_as((1, 2, 3), ("a", "b"))
        assert source.val() is None
        assert not source.sha256
        assert not source.details
        assert (source.title, source.official, source.class_characters) == (None, None, None)
        assert (source.gives_away, source.reads_test_images_first) == (False, False)

    @pytest.mark.parametrize("missing", ["train", "test"])
    def test_cannot_be_made_without_images(self, missing):
        incomplete = type("Incomplete", (Least,), {missing: getattr(Source, missing)})
        with pytest.raises(TypeError, match=missing):
            incomplete()

    def test_an_object_that_does_not_derive_from_it_has_its_defaults(self):
        class Plain:
            class_names = ("a", "b")
            title = "mine"

            def prepare(self):
                self.sha256 = {"file": "0"}

            def train(self):
                return IMAGES, LABELS

            test = train

        source = as_source(Plain(), "mine")
        assert isinstance(source, Source)
        assert not source.sha256
        source.prepare()
        assert source.sha256 == {"file": "0"}
        assert (source.class_names, source.title, source.official, source.val()) == (("a", "b"), "mine", None, None)
        assert torch.equal(read_part(source, "train", "mine").images, IMAGES)

    @pytest.mark.parametrize("missing", ["train", "test", "class_names"])
    def test_an_object_without_images_or_names_is_refused(self, missing):
        given = {"class_names": ("a", "b"), "train": lambda: None, "test": lambda: None}
        del given[missing]
        with pytest.raises(
            DataError, match=f"data=mine: build\\(\\) must return a capsnet.Source; .* has no {missing}$"
        ):
            as_source(SimpleNamespace(**given), "mine")

    def test_one_that_derives_from_it_is_taken_as_it_is(self):
        source = Least()
        assert as_source(source, "mine") is source


@pytest.mark.parametrize(
    "given",
    [
        (IMAGES, LABELS),
        [IMAGES, LABELS],
        SimpleNamespace(images=IMAGES, labels=LABELS),
        (IMAGES.numpy(), LABELS.numpy()),
        (IMAGES, [0, 1, 0, 1]),
        (IMAGES, LABELS.to(torch.int32)),
        (IMAGES, LABELS.numpy().astype(np.uint8)),
        (IMAGES.to(memory_format=torch.channels_last), LABELS),
    ],
)
def test_a_pair_or_an_object_with_images_and_labels_is_read(given):
    images, labels = read(given)
    assert torch.equal(images, IMAGES)
    assert (labels.dtype, labels.tolist()) == (torch.int64, LABELS.tolist())
    assert images.is_contiguous()


@pytest.mark.parametrize(
    "given", [(IMAGES, LABELS, {"pose": [1, 2, 3, 4]}), LabelledImages(IMAGES, LABELS, {"pose": torch.arange(1, 5)})]
)
def test_what_else_is_known_of_the_images_is_read_too(given):
    assert read(given).extras["pose"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((IMAGES, LABELS, {"pose": [1, 2]}), r"pose of each of 4 images, not \[2\]"),
        ((IMAGES[:, 0], LABELS), r"images \[n, channels, height, width\] uint8, not \[4, 5, 6\] torch.uint8"),
        ((IMAGES / 255, LABELS), r"images .* uint8, not \[4, 3, 5, 6\] torch.float32"),
        ((IMAGES.numpy().astype(np.uint16), LABELS), "images .* uint8, not .* torch.uint16"),
        ((IMAGES, LABELS[:3]), r"labels \[4\] of whole numbers, not \[3\]"),
        ((IMAGES[:3], LABELS), r"labels \[3\] of whole numbers, not \[4\]"),
        ((IMAGES, LABELS[:, None]), r"labels \[4\] of whole numbers, not \[4, 1\]"),
        ((IMAGES, LABELS.double()), r"labels \[4\] of whole numbers, not \[4\] torch.float64"),
        ((IMAGES, LABELS + 1), "labels from 0 to 1, one for each class name, not 1 to 2"),
        ((IMAGES, LABELS - 1), "labels from 0 to 1, one for each class name, not -1 to 0"),
        ((IMAGES[:0], LABELS[:0]), "labels from 0 to 1, one for each class name, not none"),
        ((IMAGES,), "images and labels"),
        ((IMAGES, LABELS, LABELS), "images and labels"),
        (None, "images and labels"),
        ((IMAGES, ["a", "b", "a", "b"]), "images and labels"),
        ({"images": IMAGES, "labels": LABELS}, "images and labels"),
    ],
)
def test_anything_else_is_refused_by_dataset_part_and_what_was_expected(given, message, part):
    with pytest.raises(DataError, match=rf"^data=mine: {part}\(\) must give {message}") as caught:
        read(given, part)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
def test_labels_may_be_unsigned_numbers_of_any_size(dtype):
    assert read((IMAGES, LABELS.numpy().astype(dtype))).labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("given", [SimpleNamespace(images=IMAGES), (None, LABELS), (IMAGES, {"a": 1})])
def test_missing_labels_and_images_that_are_no_numbers_are_refused_like_anything_else(given):
    with pytest.raises(DataError, match=r"^data=mine: train\(\) must give images and labels"):
        read(given)


def test_the_digest_depends_on_images_and_labels_and_not_on_how_they_are_stored():
    as_bytes = read((IMAGES, LABELS.numpy().astype(np.uint8)))
    assert digest(as_bytes) == digest(read((IMAGES, LABELS)))
    assert len({digest(read(given)) for given in ((IMAGES, LABELS), (IMAGES, 1 - LABELS), (255 - IMAGES, LABELS))}) == 3
