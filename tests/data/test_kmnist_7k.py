"""Claims about the images that come with the project, and the file that holds them."""

import hashlib
import re

import pytest
import torch

from capsnet.data import kmnist_7k
from capsnet.data.kmnist_7k import FILE, KMNIST7k
from capsnet.errors import DataError


@pytest.fixture(scope="module")
def source():
    source = KMNIST7k()
    source.prepare()
    return source


def test_it_has_so_many_images_of_each_class(source):
    train, test = source.train(), source.test()
    assert train.images.shape == (7011, 1, 28, 28)
    assert torch.bincount(train.labels).tolist() == [690, 690, 695, 702, 757, 708, 688, 708, 672, 701]
    assert test.images.shape == (2000, 1, 28, 28)
    assert torch.bincount(test.labels).tolist() == [200] * 10
    assert all(part.images.dtype == torch.uint8 and part.labels.dtype == torch.int64 for part in (train, test))


def test_the_bytes_are_those_whose_digests_the_description_lists(source):
    rows = re.findall(
        r"^\| (?:bytes of the (\w+) (\w+)|`(.*)`) \| (\w{64}) \|$", FILE.with_suffix(".md").read_text(), re.M
    )
    listed = {(part, what) if part else name: digest for part, what, name, digest in rows}
    assert listed.pop(FILE.name) == hashlib.sha256(FILE.read_bytes()).hexdigest() == source.sha256[FILE.name]
    parts = {"training": source.train(), "test": source.test()}
    content = {}
    for part, (images, labels) in parts.items():
        content[part, "images"] = images.numpy().tobytes()
        content[part, "labels"] = labels.to(torch.uint8).numpy().tobytes()
    assert listed == {key: hashlib.sha256(value).hexdigest() for key, value in content.items()}


def test_a_label_and_its_character_have_the_same_place(source):
    assert dict(zip(source.class_names, source.class_characters, strict=True))["tsu"] == "つ"
    assert len(source.class_names) == 10


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content + b"0",
        lambda content: content[:500_000] + bytes([content[500_000] ^ 1]) + content[500_001:],
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, monkeypatch, damage):
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(damage(FILE.read_bytes()))
    monkeypatch.setattr(kmnist_7k, "FILE", damaged)
    with pytest.raises(DataError, match=f"^{damaged}: damaged; install the project again$"):
        KMNIST7k().prepare()


def test_a_missing_file_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(kmnist_7k, "FILE", tmp_path / "nowhere.npz")
    with pytest.raises(DataError, match=r"nowhere\.npz: cannot be read \(No such file or directory\)"):
        KMNIST7k().prepare()
