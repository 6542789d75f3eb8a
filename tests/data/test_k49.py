"""Claims about Kuzushiji-49: what is read from its files, and what is refused."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from conftest import http_server, make_k49

from capsnet.data import k49
from capsnet.errors import DataError
from capsnet.settings.parse import config_from_dict


@pytest.fixture
def raw(tmp_path):
    make_k49(tmp_path)
    return tmp_path / "K49" / "raw"


def opened(raw):
    source = k49.k49(str(raw.parents[1]), download=False, mirror=None)
    source.prepare()
    return source


def md5_of(folder):
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_there_are_49_names_and_characters():
    assert len(set(k49.CLASS_NAMES)) == len(set(k49.CLASS_CHARACTERS)) == 49
    assert dict(zip(k49.CLASS_NAMES, k49.CLASS_CHARACTERS, strict=True))["tsu"] == "つ"


def test_images_and_labels_are_those_in_the_files(raw):
    source = opened(raw)
    for part, found in (("train", source.train()), ("test", source.test())):
        with np.load(raw / f"k49-{part}-imgs.npz") as images, np.load(raw / f"k49-{part}-labels.npz") as labels:
            assert torch.equal(found.images[:, 0], torch.from_numpy(images["arr_0"]))
            assert found.labels.tolist() == labels["arr_0"].tolist()
    assert source.official is False


def test_files_in_folders_of_their_names_are_read_as_kaggle_gives_them(raw):
    expected = opened(raw).test()
    for path in list(raw.iterdir()):
        moved = path.rename(raw / "moved")
        path.mkdir()
        moved.rename(path / path.name)
    assert torch.equal(opened(raw).test().images, expected.images)


def test_the_official_files_are_known_by_their_digests(raw, monkeypatch, caplog):
    monkeypatch.setattr(k49, "MD5", md5_of(raw))
    assert opened(raw).official is True
    assert not caplog.text


def test_its_classes_are_unbalanced(raw):
    settings = {"name": "k49", "root": str(raw.parents[1]), "val_size": 49, "batch_size": 8}
    data = config_from_dict({"data": settings}).data.build()
    data.read_training_images()
    assert data.class_counts.min() < data.class_counts.max()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("k49-train-imgs.npz", b"PK", "cannot be read"),
        ("k49-test-labels.npz", np.full(49, 49, np.uint8), "has label 49, but K49 has the classes 0 to 48"),
        ("k49-test-labels.npz", np.zeros(48, np.uint8), "48 labels, but k49-test-imgs.npz has 49 images"),
        ("k49-test-imgs.npz", np.zeros((49, 28, 27), np.uint8), "not images of 28x28 bytes"),
        ("k49-test-imgs.npz", np.zeros((49, 28, 28)), "not images of 28x28 bytes"),
        ("k49-test-imgs.npz", np.array([{"code": 1}]), "cannot be read"),
    ],
)
def test_damaged_files_are_refused_by_name(raw, name, content, message):
    if isinstance(content, bytes):
        (raw / name).write_bytes(content)
    else:
        np.savez(raw / name, content)
    with pytest.raises(DataError, match=message) as caught:
        opened(raw)
    assert name in str(caught.value)


def test_the_files_are_downloaded_and_checked(raw, tmp_path, monkeypatch):
    with http_server(raw) as address:
        asked = {"root": str(tmp_path / "new"), "mirror": address}
        source = k49.k49(**asked)
        with pytest.raises(DataError, match="not found or corrupted"):
            source.prepare()
        assert not list((tmp_path / "new").rglob("*.npz"))
        monkeypatch.setattr(k49, "MD5", md5_of(raw))
        source = k49.k49(**asked)
        source.prepare()
    assert len(source.test().labels) == 49


def test_missing_files_are_named_with_what_to_do(raw):
    (raw / "k49-test-imgs.npz").unlink()
    with pytest.raises(DataError, match=r"has 3 of its 4 files, but not k49-test-imgs.npz"):
        opened(raw)
    shutil.rmtree(raw)
    with pytest.raises(DataError, match=r"no files in .*data.download=false"):
        opened(raw)
