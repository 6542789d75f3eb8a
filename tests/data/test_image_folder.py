"""Claims about your own images: how files become labelled images, and what is said of files that cannot."""

import errno
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_folder_of_digits
from PIL import Image

from capsnet.data import folder
from capsnet.data.dataset import TrainingImages, recorded_training_images
from capsnet.data.picture_files import natural_order
from capsnet.errors import ConfigError, DataError
from capsnet.settings.parse import config_from_dict


def dataset(root, trained_on=None, **settings):
    settings = {"root": str(root), "cache": None, "batch_size": 4, **settings}
    overrides = {f"data.{key}": value for key, value in settings.items()}
    return config_from_dict({}, {"data": "folder", **overrides}).data.build(trained_on=trained_on)


def opened(root, **settings):
    data = dataset(root, **settings)
    data.read_training_images()
    data.read_test_images()
    return data


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


def noise(number, height=30, width=30, channels=1):
    random = np.random.default_rng(number).integers(0, 256, (height, width, channels))
    return random[..., 0] if channels == 1 else random


@pytest.fixture
def digits(tmp_path):
    """train/ and test/ of three digits."""
    make_folder_of_digits(tmp_path, {"train": 10, "test": 4})
    return tmp_path


def test_parts_and_classes_are_the_folders(digits):
    data = opened(digits, val_size=6)
    assert data.class_names == ("one", "two", "zero")
    assert data.counts == {"train": 24, "val": 6, "test": 12}
    assert data.image_shape == (1, 32, 32)
    assert data.title == digits.name
    first = np.asarray(Image.open(digits / "test/one/0.png"))
    assert np.array_equal(data.test_split.images[0, 0], first)
    assert data.test_split.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_validation_images_of_your_own_are_used_and_none_without_validation(digits):
    make_folder_of_digits(digits / "more", {"val": 12})
    shutil.move(digits / "more/val", digits / "val")
    (digits / "more").rmdir()
    assert opened(digits).counts == {"train": 30, "val": 36, "test": 12}
    assert opened(digits, val_size=0).counts == {"train": 30, "test": 12}


def test_without_a_test_folder_test_images_are_held_out_by_class_and_never_move(tmp_path):
    make_folder_of_digits(tmp_path, {"": 20})
    data, again = opened(tmp_path, val_size=6), opened(tmp_path, val_size=0.2)
    assert data.counts == {"train": 42, "val": 6, "test": 12}
    assert torch.bincount(data.test_split.labels).tolist() == [4, 4, 4]
    assert torch.equal(data.test_split.images, again.test_split.images)
    assert opened(tmp_path, test_size=30).counts["test"] == 30

    before = {image.numpy().tobytes() for image in data.test_split.images}
    save(tmp_path / "one/another.png", noise(1, 32, 32))
    after = {image.numpy().tobytes() for image in opened(tmp_path).test_split.images}
    assert len(before & after) >= 11


@pytest.mark.parametrize("test_size", [3, 4, 5, 9, 30, 50])
def test_whatever_is_held_out_each_image_is_in_one_part_and_has_its_own_label(tmp_path, test_size):
    make_folder_of_digits(tmp_path, {"": 20})
    wanted = {}
    for label, name in enumerate(("one", "two", "zero")):
        for path in (tmp_path / name).iterdir():
            wanted[np.asarray(Image.open(path)).tobytes()] = label
    data = opened(tmp_path, val_size=3, test_size=test_size)
    splits = (data.train_split, data.val_split, data.test_split)
    found = [(image.numpy().tobytes(), int(label)) for split in splits for image, label in zip(*split, strict=True)]
    assert len(found) == 60
    assert dict(found) == wanted


@pytest.mark.parametrize("test_size", [2, 58, 0.01, 0.99])
def test_a_test_part_that_leaves_a_class_out_is_refused(tmp_path, test_size):
    make_folder_of_digits(tmp_path, {"": 20})
    with pytest.raises(ConfigError, match=r"data.test_size=.*of the 3 classes.*; set data.test_size=3 to 54"):
        opened(tmp_path, test_size=test_size)


def test_numbers_in_names_are_sorted_by_value_and_code_points_as_such():
    assert sorted(["10", "9", "a2", "a10", "A"], key=natural_order) == ["9", "10", "A", "a2", "a10"]
    assert sorted(["U+4E0A", "U+4E09", "U+10000"], key=natural_order) == ["U+4E09", "U+4E0A", "U+10000"]


def test_classes_named_by_code_points_have_their_characters(tmp_path):
    for name in ("U+4E00", "U+4E09"):
        for number in range(4):
            save(tmp_path / name / f"{number}.png", noise(number))
    assert opened(tmp_path, val_size=2, test_size=2).class_characters == ("一", "三")


def test_names_may_have_any_characters_and_bytes(tmp_path):
    for name in ("か", "ねこ と いぬ", os.fsdecode(b"\xff\xfe"), "new\nline"):
        for number in range(4):
            save(tmp_path / name / (os.fsdecode(b"\x80\n") + f"{number}.png"), noise(number))
    data = opened(tmp_path, val_size=4, test_size=4)
    assert data.class_names == ("\\udcff\\udcfe", "new\\nline", "か", "ねこ と いぬ")
    assert data.counts == {"train": 8, "val": 4, "test": 4}


def test_photographs_of_mixed_sizes_in_color(tmp_path):
    for channel, color in enumerate(("a red thing", "green")):
        for number in range(6):
            height, width = 100 + 40 * number, 300 - 30 * number
            pixels = noise(number, height, width, 3) // 4
            pixels[..., channel] += 150
            path = tmp_path / color / f"{number}.{'jpg' if number % 2 else 'png'}"
            save(path, pixels)
    data = opened(tmp_path, val_size=2, test_size=2)
    assert data.image_shape == (3, 64, 64)
    means = data.train_split.images.float().mean((2, 3))
    assert means[:, :2].argmax(1).tolist() == data.train_split.labels.tolist()


def test_one_image_in_color_makes_all_of_them_so_unless_you_say_gray(digits):
    save(digits / "train/two/99.png", noise(0, 32, 32, 3))
    assert opened(digits, val_size=6).image_shape == (3, 32, 32)
    data = opened(digits, val_size=6, channels=1)
    assert data.image_shape == (1, 32, 32)
    assert torch.equal(data.test_split.images, opened(digits, val_size=6).test_split.images[:, :1])


def test_the_size_is_the_median_of_the_longer_sides_within_limits_or_yours(tmp_path):
    for side, wanted in ((8, 28), (40, 40), (200, 64)):
        root = tmp_path / str(side)
        make_folder_of_digits(root, {"": 4})
        for path in root.rglob("*.png"):
            save(path, noise(int(path.stem), side // 2, side))
        assert opened(root, val_size=3, test_size=3).image_shape == (1, wanted, wanted)
    assert opened(tmp_path / "200", val_size=3, test_size=3, image_size=50).image_shape == (1, 50, 50)


class TestCache:
    def read(self, root, cache, monkeypatch):
        """The training images, and how many files were decoded for them."""
        decoded = []
        original = folder.fitted_or_reason
        monkeypatch.setattr(folder, "fitted_or_reason", lambda *given: decoded.append(given) or original(*given))
        data = opened(root, cache=str(cache), val_size=6)
        monkeypatch.undo()
        return data.train_split.images, len(decoded)

    def test_files_are_decoded_once_until_one_changes(self, digits, tmp_path_factory, monkeypatch):
        cache = tmp_path_factory.mktemp("cache")
        first, decoded = self.read(digits, cache, monkeypatch)
        again, decoded_again = self.read(digits, cache, monkeypatch)
        assert (decoded, decoded_again) == (42, 0)
        assert torch.equal(first, again)
        times = os.stat(digits / "train/one/3.png")
        content = (digits / "train/one/4.png").read_bytes().ljust(times.st_size, b"\0")
        time.sleep(0.02)  # longer than a file system's clock stands still
        (digits / "train/one/3.png").write_bytes(content[: max(times.st_size, len(content))])
        os.utime(digits / "train/one/3.png", ns=(times.st_atime_ns, times.st_mtime_ns))
        changed, decoded = self.read(digits, cache, monkeypatch)
        assert decoded == 42
        assert not torch.equal(first, changed)
        assert len(list(cache.iterdir())) == 1

    def test_a_file_that_the_system_could_not_read_is_tried_again(self, digits, tmp_path_factory, monkeypatch):
        cache = tmp_path_factory.mktemp("cache")
        original = Path.open

        def failing(path, *arguments, **more):
            if path.name == "3.png":
                raise OSError(errno.EIO, "Input/output error")
            return original(path, *arguments, **more)

        monkeypatch.setattr(Path, "open", failing)
        with pytest.raises(DataError, match=r"train/one/3.png cannot be read \(Input/output error\)"):
            opened(digits, cache=str(cache), val_size=6)
        monkeypatch.undo()
        assert opened(digits, cache=str(cache), val_size=6).counts["train"] == 24

    def test_another_size_is_kept_beside_the_first(self, digits, tmp_path_factory):
        cache = tmp_path_factory.mktemp("cache")
        for size in (28, 32, 28):
            opened(digits, cache=str(cache), val_size=6, image_size=size)
        assert len(list(cache.iterdir())) == 2


class TestBadInput:
    def damage(self, root, count=1):
        for number in range(count):
            (root / f"train/two/{number}.png").write_bytes(b"")

    def test_broken_files_are_named_and_refused(self, digits):
        self.damage(digits, 7)
        with pytest.raises(DataError) as caught:
            opened(digits)
        message = str(caught.value)
        assert message.startswith(f"{digits}: 7 files cannot be used: train/two/0.png is empty; train/two/1.png")
        assert "train/two/4.png is empty; and 2 more. " in message
        assert "data.skip_broken=true" in message

    def test_broken_files_are_left_out_if_you_say_so_and_recorded(self, digits, caplog):
        self.damage(digits, 2)
        data = opened(digits, val_size=6, skip_broken=True)
        assert data.counts == {"train": 22, "val": 6, "test": 12}
        assert data.record()["left_out"] == {"train/two/0.png": "is empty", "train/two/1.png": "is empty"}
        assert "2 files cannot be used" in caplog.text

    def test_a_folder_without_images_is_refused_and_the_place_guessed(self, digits, tmp_path_factory):
        empty = tmp_path_factory.mktemp("empty")
        for root, message in (
            (empty, "has no images in train/CLASS/"),
            (empty / "missing", "there is no such folder"),
            (digits / "train/one/0.png", "there is no such folder"),
        ):
            with pytest.raises(DataError, match=message):
                opened(root)
        shutil.copytree(digits, empty / "inner")
        with pytest.raises(DataError, match=r"did you mean data.root=.*inner\?"):
            opened(empty)

    def test_too_few_classes_or_images_are_refused(self, digits):
        for change, message in (
            (lambda root: shutil.rmtree(root / "test/two"), "no test images of two"),
            (lambda root: shutil.rmtree(root / "train/two"), r"test/two: is not a class in train/"),
            (lambda root: [path.unlink() for path in (root / "train/two").iterdir()], "train/two: has no images"),
            (
                lambda root: [(root / f"train/two/{n}.png").unlink() for n in range(9)],
                "class two has 1 image; two are the least",
            ),
            (
                lambda root: [shutil.rmtree(root / p / c) for p in ("train", "test") for c in ("two", "one")],
                "one class",
            ),
        ):
            root = digits.with_name("changed")
            shutil.copytree(digits, root)
            change(root)
            if "no test images" in message:
                opened(root)
            else:
                with pytest.raises(DataError, match=message):
                    opened(root)
            shutil.rmtree(root)

    def test_the_same_image_in_training_and_test_is_a_warning_with_counts(self, digits, caplog):
        for number in range(3):
            shutil.copy(digits / f"train/one/{number}.png", digits / f"test/one/copy{number}.png")
        data = opened(digits)
        assert "3 of 15 test images are training images, too" in caplog.text
        assert "test/one/copy0.png = train/one/0.png" in caplog.text
        assert data.record()["test_images_in_training"] == 3
        assert "val_images_in_training" not in data.record()

    def test_validation_images_that_are_training_images_are_counted_too(self, digits, caplog):
        shutil.copytree(digits / "train", digits / "val")
        assert opened(digits).record()["val_images_in_training"] == 30
        assert "30 of 30 validation images are training images, too" in caplog.text

    @pytest.mark.parametrize("part", ["test", "val"])
    def test_a_part_without_class_folders_is_refused(self, digits, part):
        shutil.rmtree(digits / part, ignore_errors=True)
        shutil.copytree(digits / "train/one", digits / part)
        with pytest.raises(DataError, match=rf"{part}: has images but no class folders; sort them into {part}/CLASS/"):
            opened(digits)

    def test_parts_without_class_folders_are_no_classes_but_a_class_may_be_called_train(self, digits, tmp_path_factory):
        root = tmp_path_factory.mktemp("flat")
        for name in ("train", "test"):
            shutil.copytree(digits / "train/one", root / name)
        with pytest.raises(DataError, match="train: has images but no class folders"):
            opened(root)
        (root / "test").rename(root / "bus")
        assert opened(root, val_size=2).class_names == ("bus", "train")

    @pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "testing"), ("Training", "test")])
    def test_parts_with_other_names_are_named(self, digits, train, test):
        (digits / "train").rename(digits / train)
        (digits / "test").rename(digits / test)
        with pytest.raises(DataError, match=f"{train}/ (and {test}/ )?must be called train/"):
            opened(digits)

    def test_a_class_too_small_for_three_parts_is_named_with_its_count(self, tmp_path):
        make_folder_of_digits(tmp_path, {"": 20})
        save(tmp_path / "lonely/1.png", noise(1))
        with pytest.raises(DataError, match="class lonely has 1 image; three are the least"):
            opened(tmp_path)
        for number in (2, 3):
            save(tmp_path / f"lonely/{number}.png", noise(number))
        data = opened(tmp_path, test_size=40, val_size=4)
        assert data.test_split.labels.tolist().count(0) == 1
        assert data.train_split.labels.tolist().count(0) >= 1

    def test_a_test_size_that_is_not_used_is_said(self, digits, caplog):
        caplog.set_level("INFO", "capsnet")
        opened(digits, test_size=5)
        assert "data.test_size: not used, there is a test/" in caplog.text

    def test_a_val_size_that_is_not_used_is_said(self, tmp_path, caplog):
        caplog.set_level("INFO", "capsnet")
        make_folder_of_digits(tmp_path, {"train": 10, "val": 4, "test": 4})
        opened(tmp_path, val_size=0.2)
        assert "data.val_size: not used, the dataset has validation images of its own" in caplog.text

    def test_links_that_lead_out_of_the_folder_are_refused_and_others_followed(self, digits, tmp_path_factory):
        outside = tmp_path_factory.mktemp("outside") / "secret.png"
        save(outside, noise(0))
        (digits / "train/one/inside.png").symlink_to(digits / "train/one/0.png")
        assert opened(digits, val_size=6).counts["train"] == 25
        (digits / "train/one/link.png").symlink_to(outside)
        with pytest.raises(DataError, match=r"train/one/link.png is a link that leads out of the folder"):
            opened(digits)
        (digits / "train/one/link.png").unlink()
        (digits / "train/three").symlink_to(outside.parent)
        with pytest.raises(DataError, match=r"train/three: a link that leads out of the folder"):
            opened(digits)

    def test_other_files_and_folders_are_not_read_and_named(self, digits, caplog):
        (digits / "train/one/README.txt").write_text("about")
        (digits / "train/one/.DS_Store").write_text("")
        (digits / "valid").mkdir()
        assert opened(digits, val_size=6).counts["train"] == 24
        assert "train/one/README.txt" in caplog.text
        assert "not read: valid; only train, val and test are; valid/ must be called val/" in caplog.text
        assert "DS_Store" not in caplog.text


def test_for_a_trained_network_images_are_read_as_it_was_trained(digits):
    known = TrainingImages((3, 20, 24), ("zero", "none", "one", "two"), (0.1, 0.1))
    data = dataset(digits, trained_on=known)
    images, labels = data.read_test_images()
    assert images.shape == (12, 3, 20, 24)
    assert sorted(set(labels.tolist())) == [0, 2, 3]
    assert data.class_names == known.class_names
    with pytest.raises(DataError, match="zero: is not a class that the network was trained on"):
        dataset(digits, trained_on=known._replace(class_names=("one", "two"))).read_test_images()


def test_the_home_folder_may_be_written_as_a_tilde(digits, monkeypatch):
    monkeypatch.setenv("HOME", str(digits.parent))
    assert opened(f"~/{digits.name}", cache=f"~/{digits.name}-cache").counts["test"] == 12
    assert digits.with_name(f"{digits.name}-cache").is_dir()


def test_without_a_home_folder_nothing_is_kept(digits, monkeypatch, caplog):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", no_home)
    assert opened(digits, cache="auto").counts["test"] == 12
    assert "cannot be kept here (there is no home folder)" in caplog.text


def test_the_digest_of_the_test_images_is_recorded_from_the_start(digits):
    data = dataset(digits)
    data.read_training_images()
    before = data.record()["files"]
    data.read_test_images()
    assert data.record()["files"] == before
    assert "test" in before


def same_parts(one, other):
    splits = ("train_split", "val_split", "test_split")
    return all(torch.equal(getattr(one, split).images, getattr(other, split).images) for split in splits)


class TestPicturesAsPeopleHaveThem:
    def test_sixteen_bit_pictures_are_read_in_the_range_of_all_of_them_in_training_and_after_it(self, tmp_path):
        random = np.random.default_rng(0)
        for name in ("dim", "bright"):
            for number in range(6):
                (tmp_path / name).mkdir(exist_ok=True)
                values = random.integers(0, 500 if name == "dim" else 4000, (30, 30)).astype(np.uint16)
                Image.fromarray(values).save(tmp_path / name / f"{number}.png")
        data = opened(tmp_path, val_size=2, test_size=2)
        assert data.class_names == ("bright", "dim")
        for label, most in ((0, 4000), (1, 500)):
            images = data.train_split.images[data.train_split.labels == label]
            assert abs(int(images.max()) - 255 * most / 4095) < 2
        about = recorded_training_images(data.record())
        assert about.reading["ranges"] == {"more than 8 bits": [0, 4095]}
        new = tmp_path.with_name("new")
        (new / "dim").mkdir(parents=True)
        Image.fromarray(np.full((30, 30), 819, np.uint16)).save(new / "dim/1.png")
        assert dataset(new, trained_on=about).read_test_images().images.unique().tolist() == [51]

    def test_masks_of_zero_and_one_are_black_and_white(self, tmp_path):
        for name in "ab":
            for number in range(4):
                save(tmp_path / name / f"{number}.png", noise(number) > 128)
        assert opened(tmp_path, val_size=2, test_size=2).train_split.images.unique().tolist() == [0, 255]

    def test_pictures_in_folders_inside_those_of_the_classes_are_read(self, digits, caplog):
        caplog.set_level("INFO", "capsnet")
        before = opened(digits, val_size=6)
        for name in ("one", "two", "zero"):
            (digits / "train" / name / "session/a").mkdir(parents=True)
            (digits / "train" / name / "3.png").rename(digits / "train" / name / "session/a/3.png")
        assert opened(digits, val_size=6).counts == before.counts
        assert "3 images in folders inside those of the classes, such as train/one/session/a/3.png" in caplog.text

    def test_what_systems_leave_is_passed_over_in_silence(self, digits, caplog):
        for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "train/__MACOSX", "train/one/@eaDir"):
            shutil.copytree(digits / "test/one", digits / name / "one")
        (digits / "train/one/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        assert opened(digits, val_size=6).counts == {"train": 24, "val": 6, "test": 12}
        assert not caplog.text

    @pytest.mark.parametrize("format", ["PPM", "PNG"])
    def test_pictures_without_an_ending_or_with_that_of_another_program_are_read(self, digits, format):
        ending = {"PPM": ".pgm", "PNG": ""}[format]
        before = opened(digits, val_size=6)
        for path in list(digits.rglob("*.png")):
            Image.open(path).save(path.with_suffix(ending), format)
            path.unlink()
        assert same_parts(opened(digits, val_size=6), before)

    def test_a_folder_at_the_wrong_level_says_what_is_there_and_what_to_do(self, digits, tmp_path_factory):
        root = tmp_path_factory.mktemp("level")
        for name in ("train", "test"):
            shutil.copytree(digits / name, root / f"intel/seg_{name}/seg_{name}")
        shutil.copytree(digits / "train", root / "plants/PlantVillage/PlantVillage")
        shutil.copytree(digits / "train", root / "doubled/train/train")
        shutil.copytree(digits / "test", root / "doubled/test")
        (root / "arrays/cat").mkdir(parents=True)
        (root / "arrays/cat/1.npy").write_bytes(b"\x93NUMPY")
        (root / "packed").mkdir()
        (root / "packed.zip").write_bytes(b"PK\x03\x04")
        shutil.copy(root / "packed.zip", root / "packed")
        for name, message in (
            ("intel", r"seg_train/seg_train/ and seg_test/seg_test/ must be called train/ and test/"),
            ("plants", r"did you mean data.root=.*plants/PlantVillage/PlantVillage\?"),
            ("doubled", r"doubled/train: has only the folder train/; move what is in it to train/"),
            (
                "plants/PlantVillage/PlantVillage/one",
                r"10 images without class folders.* set data.root=.*PlantVillage$",
            ),
            ("arrays", r"its files are no pictures: 1 .npy"),
            ("packed", r"1 .zip; unpack the archive"),
            ("packed.zip", "no such folder, but a file; unpack it"),
        ):
            with pytest.raises(DataError, match=message):
                opened(root / name)

    def test_an_image_in_two_classes_is_named(self, digits, caplog):
        for number in range(4):
            shutil.copy(digits / f"train/one/{number}.png", digits / f"train/two/copy{number}.png")
        data = opened(digits, val_size=6)
        assert "4 images are in two classes: train/one/0.png = train/two/copy0.png, " in caplog.text
        assert data.record()["images_in_two_classes"] == 4

    @pytest.mark.parametrize("seed", range(5))
    def test_copies_stay_on_one_side_of_every_split(self, tmp_path, seed):
        make_folder_of_digits(tmp_path, {"": 20})
        for path in list(tmp_path.rglob("*.png")):
            shutil.copy(path, path.with_name(f"copy of {path.name}"))
        data = config_from_dict({}, {"data": "folder", "data.root": str(tmp_path), "data.cache": None}).data.build(seed)
        data.read_training_images()
        data.read_test_images()
        splits = (data.train_split, data.val_split, data.test_split)
        contents = [{image.numpy().tobytes() for image in split.images} for split in splits]
        assert sum(map(len, contents)) == 60 == len(set.union(*contents))
        assert [len(split.labels) for split in splits] == [86, 10, 24]

    def test_pictures_of_one_thing_stay_together(self, tmp_path):
        for name in "ab":
            for number in range(40):
                save(tmp_path / name / f"patient{number // 4}_{number}.png", noise((name == "a", number)))
        data = opened(tmp_path, group=r"patient(\d+)_", val_size=0.2)
        origin = {
            np.asarray(Image.open(path)).tobytes(): path.stem.partition("_")[0] for path in tmp_path.rglob("*.png")
        }
        splits = (data.train_split, data.val_split, data.test_split)
        things = [{origin[image.numpy().tobytes()] for image in split.images} for split in splits]
        assert sum(map(len, things)) == 10
        assert data.counts["test"] == 16
        assert torch.bincount(data.val_split.labels).tolist() in ([8, 8], [4, 4])
        with pytest.raises(ConfigError, match=r"data.group=nobody: gives no file a group"):
            opened(tmp_path, group="nobody")
        about = recorded_training_images(data.record())
        make_folder_of_digits(tmp_path.with_name("others"), {"a": 2}, classes=2)
        for name, new in (("zero", "a"), ("one", "b")):
            (tmp_path.with_name("others") / "a" / name).rename(tmp_path.with_name("others") / "a" / new)
        new = dataset(tmp_path.with_name("others") / "a", trained_on=about, group=r"patient(\d+)_")
        assert len(new.read_test_images().labels) == 4

    def test_a_class_of_four_has_an_image_in_every_part(self, tmp_path):
        make_folder_of_digits(tmp_path, {"": 100})
        for number in range(4):
            save(tmp_path / f"rare/{number}.png", noise(number))
        data = opened(tmp_path)
        for split in (data.train_split, data.val_split, data.test_split):
            assert torch.bincount(split.labels, minlength=4).min() >= 1
        limited = opened(tmp_path, limit=40)
        assert limited.counts["train"] + limited.counts["val"] == 40
        for split in (limited.train_split, limited.val_split):
            assert torch.bincount(split.labels, minlength=4).min() >= 1

    def test_all_images_of_a_new_folder_are_tested_and_only_those_held_out_of_the_old_one(self, tmp_path, caplog):
        caplog.set_level("INFO", "capsnet")
        make_folder_of_digits(tmp_path / "old", {"": 20})
        about = recorded_training_images(opened(tmp_path / "old").record())
        shutil.copytree(tmp_path / "old", tmp_path / "moved")
        for number in range(4):
            save(tmp_path / "new" / ("one", "two")[number % 2] / f"{number}.png", noise(number))
        shutil.copytree(tmp_path / "old", tmp_path / "mixed")
        for number in range(4):
            shutil.copy(tmp_path / f"new/two/{number // 2 * 2 + 1}.png", tmp_path / f"mixed/two/new{number}.png")
        for path in (tmp_path / "mixed/one").iterdir():
            path.rename(path.with_name(f"renamed{path.name}"))
        counts = {
            name: len(dataset(tmp_path / name, trained_on=about).read_test_images().labels)
            for name in ("old", "moved", "mixed", "new")
        }
        assert counts == {"old": 12, "moved": 12, "mixed": 16, "new": 4}
        assert "mixed: the network was trained on 48 of 64 images; the other 16 are tested" in caplog.text
        assert "new: all 4 images are tested, since the network was trained on none" in caplog.text
        for path in (tmp_path / "old").rglob("*.png"):
            if path.stem in ("0", "1", "2"):
                path.rename(path.with_stem(f"{path.parent.name}{path.stem}"))
        known = opened(tmp_path / "old", val_size=3, test_size=3)  # other images are held out than before
        assert known.counts == {"train": 54, "val": 3, "test": 3}

    @pytest.mark.parametrize("ending", ["bmp", "pgm", "tif"])
    def test_new_pictures_with_the_names_and_sizes_of_the_old_ones_are_new(self, tmp_path, ending):
        for place, name in enumerate(("old", "new")):
            for number in range(40):
                save(tmp_path / name / "ab"[number % 2] / f"{number}.{ending}", noise(100 * place + number))
        about = recorded_training_images(opened(tmp_path / "old").record())
        assert len(dataset(tmp_path / "new", trained_on=about).read_test_images().labels) == 40

    def test_if_the_network_was_trained_on_all_pictures_nothing_is_tested(self, tmp_path):
        make_folder_of_digits(tmp_path, {"train": 10, "test": 4})
        about = recorded_training_images(opened(tmp_path, val_size=6).record())
        with pytest.raises(DataError, match="the network was trained on all 30 images, so none can be tested"):
            dataset(tmp_path / "train", trained_on=about).read_test_images()

    def test_by_default_each_class_of_a_small_folder_has_an_image_in_every_part(self, tmp_path):
        make_folder_of_digits(tmp_path, {"": 4})
        data = opened(tmp_path)
        assert data.counts == {"train": 6, "val": 3, "test": 3}

    def test_groups_that_lie_in_two_given_parts_are_said(self, tmp_path, caplog):
        for part in ("train", "test"):
            for number in range(12):
                name = f"writer{number % 4 + (3 if part == 'test' else 0)}_{number}.png"
                save(tmp_path / part / "ab"[number % 2] / name, noise((part == "test", number)))
        data = opened(tmp_path, group=r"writer(\d+)", val_size=2)
        assert "1 of 7 groups are in more than one of train, val and test, so the test is too easy: 3" in caplog.text
        assert data.record()["groups_in_several_parts"] == 1

    def test_a_group_that_is_the_same_for_all_is_refused_and_one_of_several_captures_counts(self, tmp_path):
        for number in range(40):
            save(tmp_path / "ab"[number % 2] / f"{'left' if number % 4 < 2 else 'right'}_{number}.png", noise(number))
        with pytest.raises(ConfigError, match=r"data.group=\\.png: gives all files the same group, .png"):
            opened(tmp_path, group=r"\.png")
        data = opened(tmp_path, group="^(left)|^(right)", val_size=0)
        assert data.counts == {"train": 20, "test": 20}

    def test_nearly_black_pictures_beside_bright_ones_are_said(self, tmp_path, caplog):
        for number in range(12):
            brightest = 1 if number < 3 else 255
            save(tmp_path / "ab"[number % 2] / f"{number}.png", (noise(number) > 128) * brightest)
        opened(tmp_path)
        assert "3 of 12 pictures are nearly black, such as a/0.png" in caplog.text

    def test_colors_of_which_only_the_upper_bits_are_read_stay_colors(self, tmp_path):
        for number in range(12):
            save(tmp_path / "ab"[number % 2] / f"{number}.png", noise(number, channels=3) >> 4)
        data = opened(tmp_path)
        assert data.image_shape[0] == 3
        assert data.train_split.images.max() == 255

    def test_what_cameras_have_not_developed_is_no_picture(self, digits, caplog):
        (digits / "train/one/0.CR2").write_bytes(b"II*\0\x10\0\0\0CR")
        assert opened(digits, val_size=6).counts == {"train": 24, "val": 6, "test": 12}
        assert "not read, as they are no pictures: train/one/0.CR2" in caplog.text

    def test_the_folder_beside_one_of_other_files_is_proposed(self, tmp_path):
        make_folder_of_digits(tmp_path, {"images/train": 4, "images/val": 4})
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels/1.txt").write_text("0 0.5 0.5")
        with pytest.raises(DataError, match=r"has images in one folder only; did you mean data.root=.*/images\?"):
            opened(tmp_path)


class TestTable:
    def table(self, path, rows, head="file,label,split"):
        path.write_text("\n".join([head, *rows]), encoding="utf-8-sig")
        return path

    def read(self, labels, **settings):
        settings = {"labels": str(labels), "cache": None, "batch_size": 4, "val_size": 3, **settings}
        overrides = {f"data.{key}": value for key, value in settings.items()}
        data = config_from_dict({}, {"data": "table", **overrides}).data.build()
        data.read_training_images()
        data.read_test_images()
        return data

    def test_it_reads_what_a_folder_with_the_same_files_gives(self, digits):
        wanted = opened(digits, val_size=3)
        names = sorted(path.relative_to(digits) for path in digits.rglob("*.png"))
        names.sort(key=lambda name: (name.parts[0] == "test", natural_order(str(name))))
        rows = [f"{name};{name.parts[1]};{name.parts[0]}" for name in names]
        data = self.read(self.table(digits / "labels.csv", rows, "file;label;split"))
        assert data.class_names == wanted.class_names
        assert same_parts(data, wanted)

    def test_names_are_found_as_people_write_them(self, digits):
        folder = digits / "train"
        for name in ("one", "two"):
            (folder / name / "0.png").rename(folder / name / "Cafe\u0301.PNG")
        names = [path.relative_to(digits) for name in ("one", "two") for path in sorted((folder / name).iterdir())]
        rows = [f"{name}, {name.parts[1]}" for name in names]
        wanted = self.read(self.table(digits / "a.csv", rows, "file,label"))
        assert wanted.counts == {"train": 13, "val": 3, "test": 4}
        written = [row.replace("/", "\\").replace("Cafe\u0301.PNG", "caf\u00e9") for row in rows]
        assert same_parts(
            wanted, self.read(self.table(digits / "b.csv", [*written, written[0]], "sep=,\n\nFile,Label"))
        )

    def test_two_tables_of_the_same_pictures_keep_their_own_cache(self, digits, tmp_path, monkeypatch):
        decoded = []
        original = folder.fitted_or_reason
        monkeypatch.setattr(folder, "fitted_or_reason", lambda *given: decoded.append(given) or original(*given))
        rows = [f"{path.relative_to(digits)},{path.parent.name}," for path in (digits / "train").rglob("*.png")]
        first, second = self.table(digits / "a.csv", rows), self.table(digits / "b.csv", rows[:-1])
        for labels in (first, second):
            self.read(labels, cache=str(tmp_path / "cache"), test_size=3)
        count = len(decoded)
        for labels in (first, second):
            self.read(labels, cache=str(tmp_path / "cache"), test_size=3)
        assert len(decoded) == count

    def test_a_label_with_a_comma_is_one_label(self, digits):
        rows = [f'{path.relative_to(digits)}, "{path.parent.name}, old"' for path in (digits / "train").rglob("*.png")]
        assert self.read(self.table(digits / "a.csv", rows, "file, label")).class_names == (
            *("one, old", "two, old", "zero, old"),
        )

    def test_a_column_says_what_stays_together(self, tmp_path, caplog):
        for number in range(40):
            save(tmp_path / f"{number}.png", noise(number))
        rows = [f"{number}.png,{'ab'[number % 2]},patient {number // 4}" for number in range(40)]
        labels = self.table(tmp_path / "labels.csv", rows, "file,label,patient")
        data = self.read(labels, group_column="patient", val_size=8)
        numbers = {np.asarray(Image.open(tmp_path / f"{number}.png")).tobytes(): number // 4 for number in range(40)}
        splits = (data.train_split, data.val_split, data.test_split)
        patients = [{numbers[image.numpy().tobytes()] for image in split.images} for split in splits]
        assert sum(map(len, patients)) == 10
        self.table(tmp_path / "labels.csv", [rows[0].replace("patient 0", ""), *rows[1:]], "file,label,patient")
        self.read(labels, group_column="patient", val_size=8)
        assert "data.group_column=patient gives no group to 1 file, each of which" in caplog.text
        with pytest.raises(ConfigError, match=r"data.group_column=label: gives all files the same group, same"):
            self.read(
                self.table(tmp_path / "b.csv", [f"{row},same" for row in rows], "file,class,patient,label"),
                label_column="class",
                group_column="label",
            )
        with pytest.raises(
            DataError, match=r"has no column part, but file, label, patient; set data.split_column=NAME"
        ):
            self.read(labels, split_column="part")

    def test_columns_with_numbers_are_extras_of_their_images(self, tmp_path):
        for number in range(20):
            save(tmp_path / f"{number}.png", noise(number))
        rows = [f"{number}.png,{'ab'[number % 2]},{number + 10**11},{number / 4}" for number in range(20)]
        labels = self.table(tmp_path / "labels.csv", rows, "file,label,writer,angle")
        data = self.read(labels, extra_columns=["writer", "angle"], val_size=4, test_size=4)
        numbers = {np.asarray(Image.open(tmp_path / f"{number}.png")).tobytes(): number for number in range(20)}
        for split in (data.train_split, data.val_split, data.test_split):
            expected = [numbers[image.numpy().tobytes()] for image in split.images]
            assert torch.equal(split.extras["writer"], torch.tensor(expected) + 10**11)
            assert torch.equal(split.extras["angle"], torch.tensor(expected) / 4)
        with pytest.raises(DataError, match=r"data.extra_columns=pose: .* has no such column, but file, label, w"):
            self.read(labels, extra_columns=["pose"])
        self.table(tmp_path / "labels.csv", [rows[0].replace("0.0", "?"), *rows[1:]], "file,label,writer,angle")
        with pytest.raises(DataError, match=r"line 2: angle is \?, no number"):
            self.read(labels, extra_columns=["angle"])

    def test_columns_may_have_other_names_and_files_no_ending(self, digits):
        rows = [f"{path.stem},{path.parent.name}" for path in (digits / "train/one").iterdir()]
        rows += [f"../two/{path.stem},two" for path in (digits / "train/two").iterdir()]
        labels = self.table(digits / "labels.csv", rows, "id,breed")
        settings = {"file_column": "id", "label_column": "breed", "root": str(digits / "train/one")}
        with pytest.raises(DataError, match=r"two/6.png lies outside data.root"):
            self.read(labels, **settings)
        rows = [row.replace("../two/", "two/") if "two/" in row else f"one/{row}" for row in rows]
        settings["root"] = str(digits / "train")
        data = self.read(self.table(digits / "labels.csv", rows, "id,breed"), **settings)
        assert data.counts == {"train": 13, "val": 3, "test": 4}

    @pytest.mark.parametrize(
        ("head", "row", "message"),
        [
            ("name,label", "a.png,one", r"has no column file, but name, label; set data.file_column=NAME"),
            ("file,label", "a.png,", "line 2: has no label"),
            ("file,label,split", "a.png,one,exam", "line 2: split is exam, not train, val or test"),
            ("file,label", "train/one/0.png,one\ntrain/one/0.png,two", "line 3: train/one/0.png is in line 2 already"),
            ("file,label", "nowhere.png,one", r"nowhere.png cannot be read \(No such file"),
            ("file,label", "train/one/0.png,a, b", "line 2: has 3 values for 2 columns; put quotes around a value"),
            ("file,label", 'train/one/0.png,"one', "line 3: is no CSV"),
            (
                "file,label,split",
                "train/one/0.png,one,test",
                "line 2: one: is not a class in train/; rename",
            ),
            ("file,label", "", "lists no images"),
        ],
    )
    def test_what_is_wrong_is_said_with_its_line(self, digits, head, row, message):
        with pytest.raises(DataError, match=message):
            self.read(self.table(digits / "labels.csv", [row, "train/two/1.png,two"] if row else [], head))
