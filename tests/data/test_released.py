"""Claims about CIFAR-10, SVHN and smallNORB: what is read from their files, and what is refused."""

import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np
import pytest
import torch
from conftest import http_server, make_cifar10, make_smallnorb, make_svhn
from scipy.io import loadmat, savemat

from capsnet.data import cifar10, smallnorb, svhn
from capsnet.errors import DataError

MAKE = {"CIFAR10": make_cifar10, "SVHN": make_svhn, "smallNORB": make_smallnorb}
OPEN = {"CIFAR10": cifar10.cifar10, "SVHN": svhn.svhn, "smallNORB": smallnorb.smallnorb}


@pytest.fixture(params=MAKE)
def name(request):
    return request.param


@pytest.fixture
def raw(tmp_path, name):
    MAKE[name](tmp_path)
    return tmp_path / name / "raw"


def opened(raw, **settings):
    source = OPEN[raw.parent.name](str(raw.parents[1]), download=False, **settings)
    source.prepare()
    return source


def md5(content):
    return hashlib.md5(content).hexdigest()


def test_both_parts_have_images_of_all_classes(raw, name):
    source = opened(raw)
    for part in (source.train(), source.test()):
        assert part.images.dtype == torch.uint8
        assert part.images.shape[1:] == ((2, 32, 32) if name == "smallNORB" else (3, 32, 32))
        assert part.labels.unique().tolist() == list(range(len(source.class_names)))
    assert len(source.train().labels) > len(source.test().labels)


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2 - 1], lambda content: b"", lambda content: content[1:]]
)
def test_damaged_files_are_refused_by_name(raw, damage):
    for path in raw.iterdir():
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        with pytest.raises(DataError, match="replace it") as caught:
            opened(raw)
        assert path.stem.rpartition("-")[0] in str(caught.value)
        path.write_bytes(whole)


def test_the_files_are_downloaded_unpacked_and_checked(raw, name, tmp_path, monkeypatch):
    served = tmp_path / "served"
    served.mkdir()
    if name == "CIFAR10":
        ((archive, _),) = cifar10.ARCHIVES
        with tarfile.open(served / archive, "w:gz") as packed:
            for path in raw.iterdir():
                packed.add(path, f"cifar-10-batches-bin/{path.name}")
        monkeypatch.setattr(cifar10, "ARCHIVES", ((archive, md5((served / archive).read_bytes())),))
    if name == "SVHN":
        for path in raw.iterdir():
            (served / path.name).write_bytes(path.read_bytes())
        monkeypatch.setattr(svhn, "MD5", {path.name: md5(path.read_bytes()) for path in raw.iterdir()})
    if name == "smallNORB":
        digests = {}
        for path in raw.iterdir():
            (served / f"{path.name}.gz").write_bytes(packed := gzip.compress(path.read_bytes()))
            digests[path.name] = (md5(packed), md5(path.read_bytes()))
        monkeypatch.setattr(smallnorb, "MD5", digests)
    with http_server(served) as address:
        source = OPEN[name](str(tmp_path / "new"), mirror=address)
        source.prepare()
    assert torch.equal(source.test().images, opened(raw).test().images)
    assert source.official is (None if name == "CIFAR10" else True)
    there = {path.name for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert there == {path.name for path in raw.iterdir()}


class TestCIFAR10:
    def test_an_image_is_its_red_then_green_then_blue_pixels_behind_its_label(self, tmp_path):
        make_cifar10(tmp_path)
        raw = tmp_path / "CIFAR10" / "raw"
        content = (raw / "data_batch_2.bin").read_bytes()
        part = opened(raw).train()
        first = len((raw / "data_batch_1.bin").read_bytes()) // cifar10.BYTES
        assert int(part.labels[first]) == content[0]
        assert part.images[first].flatten().tolist() == list(content[1 : cifar10.BYTES])

    def test_a_label_above_nine_is_refused(self, tmp_path):
        make_cifar10(tmp_path)
        path = tmp_path / "CIFAR10" / "raw" / "test_batch.bin"
        path.write_bytes(b"\x0a" + path.read_bytes()[1:])
        with pytest.raises(DataError, match=r"test_batch.bin: has label 10"):
            opened(path.parent)


class TestSVHN:
    def test_ten_stands_for_zero_and_pixels_keep_their_places(self, tmp_path):
        make_svhn(tmp_path)
        raw = tmp_path / "SVHN" / "raw"
        part, matrices = opened(raw).train(), loadmat(raw / "train_32x32.mat")
        assert part.labels.tolist() == [int(label) % 10 for label in matrices["y"].ravel()]
        assert np.array_equal(part.images[3, 1].numpy(), matrices["X"][:, :, 1, 3])

    @pytest.mark.parametrize("label", [0, 11])
    def test_other_labels_are_refused(self, tmp_path, label):
        make_svhn(tmp_path)
        path = tmp_path / "SVHN" / "raw" / "test_32x32.mat"
        matrices = loadmat(path)
        matrices["y"][0] = label
        savemat(path, {"X": matrices["X"], "y": matrices["y"]})
        with pytest.raises(DataError, match="labels are not from 1 to 10"):
            opened(path.parent)


class TestSmallNORB:
    @pytest.fixture
    def raw(self, tmp_path):
        make_smallnorb(tmp_path)
        return tmp_path / "smallNORB" / "raw"

    def test_what_is_known_of_a_view_is_beside_its_image(self, raw):
        part = opened(raw, image_size=96).train()
        info = smallnorb.matrix(raw, (raw / f"{smallnorb.TRAIN}-info.mat").read_bytes())
        images = smallnorb.matrix(raw, (raw / f"{smallnorb.TRAIN}-dat.mat").read_bytes())
        assert np.array_equal(part.images.numpy(), images)
        for number, name in enumerate(("instance", "elevation", "azimuth", "lighting")):
            assert part.extras[name].tolist() == info[:, number].tolist()

    def test_smaller_images_are_means_over_squares(self, raw):
        whole, small = (opened(raw, image_size=side).test().images.double() for side in (96, 32))
        expected = torch.nn.functional.avg_pool2d(whole, 3)
        assert float((small - expected).abs().max()) <= 0.5

    @pytest.mark.parametrize(("views", "familiar"), [("azimuth", {0, 2, 4, 30, 32, 34}), ("elevation", {0, 1, 2})])
    def test_familiar_views_are_trained_and_the_others_tested(self, raw, views, familiar):
        source = opened(raw, views=views)
        assert set(source.train().extras[views].tolist()) == familiar
        assert not familiar & set(source.test().extras[views].tolist())
        assert set(opened(raw, views=views, tested="familiar").test().extras[views].tolist()) == familiar
        tested = [len(opened(raw, views=views, tested=some).test().labels) for some in ("novel", "familiar", "all")]
        assert tested[0] + tested[1] == tested[2] == len(opened(raw).test().labels)

    @pytest.mark.parametrize(
        "content",
        [
            struct.pack("<IiIII", 0x1E3D4C51, 1, 4, 1, 1) + b"0000",
            struct.pack("<IiiII", 0x1E3D4C55, 1, -4, 1, 1),
            struct.pack("<IiIII", 0x1E3D4C55, 9, 4, 1, 1),
            struct.pack("<IiIII", 0x1E3D4C54, 4, 4, 1, 1),
            b"MATLAB 5.0 MAT-file, Platform",
        ],
    )
    def test_what_is_no_matrix_of_norbs_is_refused(self, raw, content):
        (raw / f"{smallnorb.TEST}-cat.mat").write_bytes(content)
        with pytest.raises(DataError, match=r"testing-cat.mat: "):
            opened(raw)


def test_an_archive_of_another_version_is_not_unpacked(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "cifar-10-binary.tar.gz", "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin"), io.BytesIO())
    with http_server(served) as address:
        source = cifar10.cifar10(str(tmp_path / "new"), mirror=address)
        with pytest.raises(DataError, match="not found or corrupted"):
            source.prepare()
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
