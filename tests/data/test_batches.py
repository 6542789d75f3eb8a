"""Claims about batches: every image once, in an order and augmentation that the seed and the epoch alone decide."""

import pytest
import torch

from capsnet.augment import Augmentation
from capsnet.data.batches import Batches, TrainingBatches, epoch_generator, with_extras
from capsnet.data.source import LabelledImages
from capsnet.errors import ConfigError
from capsnet.output import Targets
from capsnet.tasks.classify import Classify

COUNT = 50
UNCHANGED = Augmentation()
SPLIT = LabelledImages(
    torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 20, 20), torch.arange(COUNT)
)
SPLIT.images[..., 5:15, 5:15] += 100  # a box on a ground


class Labelled(list):
    """Batches as pairs of images and labels; under mixup, labels are class probabilities."""

    def __init__(self, batches):
        super().__init__((images, targets.classes) for images, targets in batches)
        self.sizes = batches.sizes


def training(batch_size=8, seed=0, epoch=0, augmentation=UNCHANGED, **sharing):
    return Labelled(
        TrainingBatches(
            SPLIT,
            batch_size,
            augmentation=augmentation,
            classes=COUNT,
            composition=Classify(),
            seed=seed,
            epoch=lambda: epoch,
            **sharing,
        )
    )


def labels_of(batches):
    return torch.cat([labels for _, labels in batches]).tolist()


def by_label(batches):
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return images[labels.argsort()]


def test_images_become_floats_between_zero_and_one_with_their_own_labels():
    for images, labels in training():
        assert images.dtype == torch.float32
        torch.testing.assert_close(images[:, 0, 0, 0], labels / 255)


@pytest.mark.parametrize("batch_size", [1, 8, 25, 50, 64])
def test_an_epoch_holds_every_image_once(batch_size):
    batches = training(batch_size)
    assert sorted(labels_of(batches)) == list(range(COUNT))
    assert len(batches) == len(batches.sizes)
    assert labels_of(Labelled(Batches(SPLIT, batch_size))) == list(range(COUNT))


@pytest.mark.parametrize(("batch_size", "world_size"), [(7, 2), (7, 3), (49, 2), (16, 3)])
def test_no_process_goes_without_images_in_any_batch(batch_size, world_size):
    shares = [list(training(batch_size, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert all(len(labels) for share in shares for _, labels in share)
    assert sorted(label for share in shares for label in labels_of(share)) == list(range(COUNT))


def test_more_processes_than_images_in_a_batch_are_refused():
    with pytest.raises(ConfigError, match=r"data.batch_size=2: too small: each of 3 processes"):
        training(2, world_size=3)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_every_batch_without_overlap(world_size):
    alone = [set(labels.tolist()) for _, labels in training(10)]
    shares = [list(training(10, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for batch, *parts in zip(alone, *shares, strict=True):
        seen = [label for _, labels in parts for label in labels.tolist()]
        assert sorted(seen) == sorted(batch)


def test_order_changes_with_epoch_and_seed_and_is_repeatable():
    assert labels_of(training()) == labels_of(training())
    assert labels_of(training(epoch=1)) != labels_of(training())
    assert labels_of(training(seed=1)) != labels_of(training())


def test_an_epochs_random_numbers_are_its_own():
    numbers = {
        (seed, epoch): torch.rand(1, generator=epoch_generator(seed, epoch)).item()
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(set(numbers.values())) == len(numbers)  # also where seed and epoch have the same sum, or are swapped


def test_a_last_batch_of_less_than_an_eighth_is_joined_to_the_one_before_in_training_alone():
    assert training(24).sizes == [24, 26]
    assert training(16).sizes == [16, 16, 16, 2]
    assert Batches(SPLIT, 24).sizes == [24, 24, 2]


def test_augmentation_changes_every_epoch():
    augmentation = Augmentation(max_shift=2, cutout_size=6)
    first, second = (by_label(training(epoch=epoch, augmentation=augmentation)) for epoch in (0, 1))
    changed = (first != second).flatten(1).any(1)
    assert changed.float().mean() > 0.9


def test_augmentation_of_an_image_depends_on_no_batch_size_and_no_sharing():
    augmentation = Augmentation(max_shift=2, cutout_size=6)
    expected = by_label(training(8, augmentation=augmentation))
    assert torch.equal(by_label(training(50, augmentation=augmentation)), expected)
    halves = [batch for rank in (0, 1) for batch in training(8, augmentation=augmentation, rank=rank, world_size=2)]
    assert torch.equal(by_label(halves), expected)


def brighter_by(amount):
    """An added augmentation that needs no random numbers."""
    return lambda images, generator: images + amount


def noise(images, generator):
    return torch.rand(images.shape, generator=generator)


class TestAdded:
    """What plugins add."""

    def test_gets_batches_after_the_projects_own_kinds_and_is_applied_in_the_order_given(self):
        seen = []

        def look(images, generator):
            seen.append(images.clone())
            return images * 0.5

        shifted = list(training(augmentation=Augmentation(max_shift=2)))
        added = {"look": look, "brighter": brighter_by(0.25)}
        both = list(training(augmentation=Augmentation(max_shift=2, added=added)))
        for (images, labels), (augmented, same_labels), looked_at in zip(shifted, both, seen, strict=True):
            assert torch.equal(looked_at, images)
            assert torch.equal(augmented, images * 0.5 + 0.25)
            assert torch.equal(same_labels, labels)

    def test_random_numbers_depend_on_seed_epoch_batch_process_and_name(self):
        def drawn(name="noise", rank=0, world_size=1, **settings):
            augmentation = Augmentation(added={name: noise})
            batches = training(augmentation=augmentation, rank=rank, world_size=world_size, **settings)
            return [images[:4] for images, _ in batches if len(images) >= 4]

        assert all(map(torch.equal, drawn(), drawn()))
        others = drawn(seed=1), drawn(epoch=1), drawn("hiss"), drawn(rank=1, world_size=2)
        numbers = [batch for batches in (drawn(), *others) for batch in batches]
        distinct = {tuple(batch.flatten()[:100].tolist()) for batch in numbers}
        assert len(distinct) == len(numbers)

    def test_another_one_changes_neither_its_random_numbers_nor_the_draws_of_the_projects_kinds(self):
        alone = list(training(augmentation=Augmentation(max_shift=2, added={"noise": noise})))
        first = {"hiss": noise, "noise": noise}
        for (images, _), (same, _) in zip(alone, training(augmentation=Augmentation(added=first)), strict=True):
            assert torch.equal(images, same)
        plain = list(training(augmentation=Augmentation(max_shift=2)))
        unchanged = {"noise": lambda images, generator: (noise(images, generator), images)[1]}
        for (images, _), (same, _) in zip(
            plain, training(augmentation=Augmentation(max_shift=2, added=unchanged)), strict=True
        ):
            assert torch.equal(images, same)

    def test_changing_a_batch_in_place_leaves_the_dataset_as_it_is(self):
        before = SPLIT.images.clone()
        darkened = Augmentation(added={"darken": lambda images, generator: images.zero_()})
        assert all((images == 0).all() for images, _ in training(augmentation=darkened))
        assert torch.equal(SPLIT.images, before)

    def test_both_images_of_a_mixture_are_augmented(self):
        added = {"brighter": brighter_by(0.5)}
        mixed = training(augmentation=Augmentation(mixup=1.0))
        for (images, labels), (augmented, same_labels) in zip(
            mixed, training(augmentation=Augmentation(mixup=1.0, added=added)), strict=True
        ):
            torch.testing.assert_close(augmented, images + 0.5)
            assert torch.equal(labels, same_labels)

    def test_images_of_another_shape_are_refused(self):
        cropped = Augmentation(added={"crop": lambda images, generator: images[:, :, 1:]})
        with pytest.raises(
            ConfigError, match=r"augment=crop: made images of shape \[8, 1, 19, 20\] from \[8, 1, 20, 20\]"
        ):
            next(iter(training(augmentation=cropped)))


class TestMixup:
    MIXUP = Augmentation(max_shift=2, mixup=1.0)

    def of_each_image(self, batches):
        """Images and probabilities of an epoch, ordered by the image that has the larger share."""
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        order = labels.argmax(1).argsort()
        return images[order], labels[order]

    def test_an_image_and_its_probabilities_are_the_same_mixture_of_two_of_the_set(self):
        images, labels = self.of_each_image(training(augmentation=Augmentation(mixup=1.0)))
        torch.testing.assert_close(labels.sum(1), torch.ones(COUNT))
        assert ((labels > 0).sum(1) <= 2).all()
        expected = labels @ torch.arange(COUNT, dtype=torch.float32) / 255  # each image has its label as brightness
        torch.testing.assert_close(images[..., :5, :], expected.view(-1, 1, 1, 1).expand(-1, 1, 5, 20))

    def test_each_image_has_the_larger_share_once_and_the_other_may_be_any(self):
        labels = torch.cat(
            [labels for epoch in range(20) for _, labels in training(epoch=epoch, augmentation=self.MIXUP)]
        )
        assert torch.equal(labels.argmax(1).bincount(), torch.full((COUNT,), 20))
        others = (labels > 0).scatter(1, labels.argmax(1, keepdim=True), False)
        assert others.any(0).all()

    def test_mixtures_depend_on_no_batch_size_and_no_sharing_but_on_seed_and_epoch(self):
        images, labels = self.of_each_image(training(8, augmentation=self.MIXUP))
        halves = [batch for rank in (0, 1) for batch in training(8, augmentation=self.MIXUP, rank=rank, world_size=2)]
        for batches in (training(50, augmentation=self.MIXUP), halves):
            again = self.of_each_image(batches)
            torch.testing.assert_close(again, (images, labels), rtol=0, atol=0)
        for other in (training(seed=1, augmentation=self.MIXUP), training(epoch=1, augmentation=self.MIXUP)):
            assert not torch.equal(self.of_each_image(other)[1], labels)

    def test_both_images_are_augmented_by_their_own_draws(self):
        shifted = by_label(training(augmentation=Augmentation(max_shift=2)))
        images, labels = self.of_each_image(training(augmentation=self.MIXUP))
        torch.testing.assert_close(images, torch.einsum("bn,nchw->bchw", labels, shifted))


def test_what_else_is_known_of_an_image_comes_with_it_in_every_batch():
    numbers = torch.arange(COUNT)
    split = LabelledImages(SPLIT.images, SPLIT.labels, {"writer": numbers % 7, "pose": torch.rand(COUNT, 4, 4)})
    shared = {"classes": COUNT, "composition": Classify()}
    shuffled = TrainingBatches(
        split, 8, augmentation=UNCHANGED, seed=0, epoch=lambda: 0, rank=1, world_size=2, **shared
    )
    for batches in (Batches(split, 8, **shared), shuffled):
        for _, targets in batches:
            assert torch.equal(targets.extras["writer"], targets.labels % 7)
            assert torch.equal(targets.extras["pose"], split.extras["pose"][targets.labels])
            assert torch.equal(targets.first(1).extras["pose"], targets.extras["pose"][:1])
    assert next(iter(Batches(SPLIT, 8, **shared)))[1].extras is None


def test_what_a_task_says_of_an_item_comes_beside_what_the_dataset_knows_and_counts_first():
    targets = Targets(torch.zeros(2), torch.zeros(2), extras={"angle": torch.ones(2), "pose": torch.ones(2)})
    known = {"writer": torch.arange(9), "pose": torch.zeros(9)}
    found = with_extras(targets, known, torch.tensor([4, 7])).extras
    assert {name: values.tolist() for name, values in found.items()} == {
        "writer": [4, 7],
        "pose": [1, 1],
        "angle": [1, 1],
    }
