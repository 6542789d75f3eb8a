"""Claims about reading, checking and downloading files in MNIST's format, right ones and wrong ones."""

import errno
import gzip
import hashlib
import os
import re
import shutil
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import http_server, make_kmnist, write_idx
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets import KMNIST

from capsnet.data import released
from capsnet.data.idx import IdxFiles
from capsnet.data.kmnist_7k import KMNIST7k
from capsnet.errors import DataError
from capsnet.settings import data

SHARED = Path(__file__).parents[3] / "shared"
FILES = [f"{kind}-{what}-ubyte" for kind in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
NAMES = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), FILES, strict=True))


def source(root: Path, download: bool = False, mirror: str | None = None):
    return data.KMNIST(str(root), download, mirror).build()


def prepared(root: Path):
    kmnist = source(root)
    kmnist.prepare()
    return kmnist


def refusal(root: Path) -> str:
    """The one line that refuses these files."""
    with pytest.raises(DataError) as caught:
        source(root).prepare()
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestReading:
    def test_compressed_files_are_read_as_they_lie(self, kmnist_root):
        whole = prepared(kmnist_root)
        for path in (kmnist_root / "KMNIST/raw").iterdir():
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
        compressed = prepared(kmnist_root)
        assert compressed.sha256 == whole.sha256
        for part in ("train", "test"):
            for one, other in zip(getattr(compressed, part)(), getattr(whole, part)(), strict=True):
                assert torch.equal(one, other)
        settings = {name: f"{file}.gz" for name, file in NAMES.items()}
        for named in ({}, settings):  # with and without the ending
            own = IdxFiles(str(kmnist_root / "KMNIST/raw"), **named)
            own.prepare()
            assert torch.equal(own.test().images, whole.test().images)

    @pytest.mark.parametrize("place", ["", "KMNIST"])
    def test_files_that_were_put_beside_each_other_by_hand_are_read(self, kmnist_root, place):
        whole = prepared(kmnist_root)
        for path in (kmnist_root / "KMNIST/raw").iterdir():
            path.rename(kmnist_root / place / path.name)
        assert prepared(kmnist_root).sha256 == whole.sha256

    def test_files_are_read_under_the_names_that_kaggle_gives_them(self, kmnist_root):
        whole = prepared(kmnist_root)
        for number, path in enumerate((kmnist_root / "KMNIST/raw").iterdir()):
            content = path.read_bytes()
            path.unlink()
            inner = path / path.name if number % 2 else path.with_name(path.name.replace("-idx", ".idx"))
            inner.parent.mkdir(exist_ok=True)
            inner.write_bytes(content)
        assert prepared(kmnist_root).sha256 == whole.sha256

    @pytest.mark.skipif(
        not (SHARED / "MNIST").is_dir(), reason="the official files of MNIST are not beside the project"
    )
    def test_the_official_archives_of_mnist_need_not_be_unpacked(self):
        mnist = data.MNIST(str(SHARED), download=False).build()
        mnist.prepare()
        images, labels = mnist.test()
        assert images.shape == (10_000, 1, 28, 28)
        assert torch.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    def test_images_and_labels_are_those_in_the_files(self, kmnist_root):
        kmnist = prepared(kmnist_root)
        images, labels = kmnist.train()
        raw = (kmnist_root / "KMNIST/raw" / FILES[0]).read_bytes()[16:]
        assert images.dtype == torch.uint8
        assert images.shape == (200, 1, 28, 28)
        assert np.array_equal(images.numpy().reshape(-1), np.frombuffer(raw, np.uint8))
        assert labels.tolist() == [n % 10 for n in range(200)]
        assert labels.dtype == torch.int64
        assert len(kmnist.test().labels) == 50

    def test_other_readable_files_are_accepted_with_one_warning_line_and_marked(self, kmnist_root, caplog):
        kmnist = prepared(kmnist_root)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert "not the official files" in record.getMessage()
        assert f"{FILES[0]} (200)" in record.getMessage()
        assert "\n" not in record.getMessage()
        assert kmnist.official is False

    def test_official_files_are_accepted_without_a_warning(self, kmnist_root, caplog, monkeypatch):
        raw = kmnist_root / "KMNIST/raw"
        digests = {name: f"sha256:{hashlib.sha256((raw / name).read_bytes()).hexdigest()}" for name in FILES}
        monkeypatch.setattr("capsnet.data.kmnist.DIGESTS", digests)
        assert prepared(kmnist_root).official is True
        assert not caplog.records

    def test_where_no_official_digests_are_known_nobody_can_tell(self, kmnist_root, caplog):
        (kmnist_root / "KMNIST").rename(kmnist_root / "FashionMNIST")
        fashion = data.FashionMNIST(str(kmnist_root), download=False).build()
        fashion.prepare()
        assert fashion.official is None
        assert not caplog.records

    def test_recorded_digests_are_those_of_sha256sum(self, kmnist_root):
        kmnist = prepared(kmnist_root)
        for name in FILES:
            content = (kmnist_root / "KMNIST/raw" / name).read_bytes()
            assert kmnist.sha256[name] == hashlib.sha256(content).hexdigest()

    def test_an_old_cache_of_torchvision_is_not_read_in_place_of_the_checked_files(self, kmnist_root):
        processed = kmnist_root / "KMNIST/processed"
        processed.mkdir()
        for name in ("training.pt", "test.pt"):
            torch.save((torch.zeros(1, 28, 28), torch.zeros(1)), processed / name)
        assert len(prepared(kmnist_root).train().labels) == 200

    @pytest.mark.skipif(not (SHARED / "KMNIST").is_dir(), reason="the KMNIST subset is not beside this checkout")
    def test_the_real_subset_as_idx_files_is_kmnist_7k(self):
        kmnist, within = prepared(SHARED), KMNIST7k()
        within.prepare()
        assert kmnist.train().images.shape == (7011, 1, 28, 28)
        assert torch.bincount(kmnist.train().labels).tolist() == [690, 690, 695, 702, 757, 708, 688, 708, 672, 701]
        assert torch.bincount(kmnist.test().labels).tolist() == [200] * 10
        for part in ("train", "test"):
            for ours, theirs in zip(getattr(kmnist, part)(), getattr(within, part)(), strict=True):
                assert torch.equal(ours, theirs)


class TestDamage:
    """Each kind of damage is refused in one line that names the file."""

    @pytest.fixture
    def raw(self, kmnist_root):
        return kmnist_root / "KMNIST/raw"

    @pytest.mark.parametrize("name", FILES)
    def test_missing(self, kmnist_root, raw, name):
        (raw / name).unlink()
        assert name in refusal(kmnist_root)

    @pytest.mark.parametrize("name", FILES)
    def test_empty(self, kmnist_root, raw, name):
        (raw / name).write_bytes(b"")
        assert str(raw / name) in refusal(kmnist_root)

    @pytest.mark.parametrize("name", FILES)
    def test_wrong_magic_number(self, kmnist_root, raw, name):
        content = (raw / name).read_bytes()
        (raw / name).write_bytes(b"\0\0\x0b" + content[3:])
        assert re.search(f"{name}: not the expected IDX file", refusal(kmnist_root))

    def test_images_and_labels_swapped(self, kmnist_root, raw):
        (raw / FILES[0]).rename(raw / "x")
        (raw / FILES[1]).rename(raw / FILES[0])
        (raw / "x").rename(raw / FILES[1])
        assert FILES[0] in refusal(kmnist_root)

    def test_counts_that_differ(self, kmnist_root, raw):
        write_idx(raw / FILES[1], np.zeros(199))
        assert re.search(r"199 labels, but train-images-idx3-ubyte has 200 images", refusal(kmnist_root))

    def test_labels_out_of_range(self, kmnist_root, raw):
        write_idx(raw / FILES[3], np.full(50, 10))
        assert re.search(f"{FILES[3]}: has label 10, but KMNIST has the classes 0 to 9", refusal(kmnist_root))

    def test_no_images(self, kmnist_root, raw):
        write_idx(raw / FILES[0], np.zeros((0, 28, 28)))
        assert re.search(f"{FILES[0]}: is empty", refusal(kmnist_root))

    def test_more_bytes_than_the_header_says(self, kmnist_root, raw):
        (raw / FILES[2]).write_bytes((raw / FILES[2]).read_bytes() + b"0")
        assert re.search(f"{FILES[2]}: too long, 39,217 bytes instead of 39,216", refusal(kmnist_root))

    def test_compressed_and_damaged(self, kmnist_root, raw):
        content = gzip.compress((raw / FILES[0]).read_bytes())
        for damaged in (content[:-20], content[:30] + b"nonsense" + content[38:]):
            (raw / FILES[0]).write_bytes(damaged)
            assert "is compressed and damaged" in refusal(kmnist_root)

    def test_a_folder_in_its_place(self, kmnist_root, raw):
        (raw / FILES[0]).unlink()
        (raw / FILES[0]).mkdir()
        assert str(raw / FILES[0]) in refusal(kmnist_root)

    def test_a_declared_size_beyond_all_memory(self, kmnist_root, raw):
        (raw / FILES[0]).write_bytes(struct.pack(">IIII", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"0" * 100)
        assert "cut off" in refusal(kmnist_root)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, kmnist_root, raw):
        (raw / FILES[0]).chmod(0)
        assert str(raw / FILES[0]) in refusal(kmnist_root)

    @settings(max_examples=60)
    @given(name=st.sampled_from(FILES), share=st.floats(0, 1, exclude_max=True))
    def test_cut_off_anywhere(self, tmp_path_factory, name, share):
        root = tmp_path_factory.mktemp("cut")
        make_kmnist(root)
        path = root / "KMNIST/raw" / name
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert str(path) in refusal(root)
        shutil.rmtree(root)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


class TestDownload:
    @pytest.fixture
    def server(self, tmp_path):
        """A local server of KMNIST archives; its address and its folder."""
        make_kmnist(tmp_path / "origin")
        folder = tmp_path / "served"
        folder.mkdir()
        for name in FILES:
            (folder / f"{name}.gz").write_bytes(gzip.compress((tmp_path / "origin/KMNIST/raw" / name).read_bytes()))

        with http_server(folder) as address:
            yield address, folder

    @staticmethod
    def expect(monkeypatch, folder):
        """Let torchvision expect what the local server has, in place of the official archives."""
        resources = [(f"{name}.gz", hashlib.md5((folder / f"{name}.gz").read_bytes()).hexdigest()) for name in FILES]
        monkeypatch.setattr(KMNIST, "resources", resources)

    @staticmethod
    def fails(root, mirror, why):
        """A download ends in one line that says why, and leaves no file."""
        with pytest.raises(DataError, match=why) as caught:
            source(root, download=True, mirror=mirror).prepare()
        assert "\n" not in str(caught.value)
        assert not files_in(root)

    def test_downloads_what_is_missing_and_leaves_nothing_else(self, server, tmp_path, monkeypatch):
        address, folder = server
        self.expect(monkeypatch, folder)
        root = tmp_path / "new" / "root"
        kmnist = source(root, download=True, mirror=address)
        kmnist.prepare()
        assert len(kmnist.train().labels) == 200
        assert files_in(root) == sorted(FILES)

    def test_other_content_than_the_official_is_refused_and_not_kept(self, server, tmp_path):
        address, _ = server
        self.fails(tmp_path / "new", address, "not found or corrupted")

    def test_without_an_answer_says_where_it_looked_and_what_to_do(self, tmp_path):
        with pytest.raises(DataError) as caught:
            source(tmp_path, download=True, mirror="http://127.0.0.1:9").prepare()
        message = str(caught.value)
        for part in (
            str(tmp_path / "KMNIST/raw"),
            "http://127.0.0.1:9",
            *("yourself", *FILES),
            *("data=kmnist_7k", "data=digits"),
        ):
            assert part in message

    def test_is_not_tried_where_it_is_switched_off(self, tmp_path):
        assert "data.download=false" in refusal(tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_server_that_does_not_answer_is_given_up(self, tmp_path, monkeypatch):
        monkeypatch.setattr(released, "DOWNLOAD_TIMEOUT", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            mirror = f"http://127.0.0.1:{silent.getsockname()[1]}"
            self.fails(tmp_path / "new", mirror, "timed out")

    def test_what_is_cut_off_in_the_middle_is_not_kept(self, server, tmp_path, monkeypatch):
        address, folder = server
        self.expect(monkeypatch, folder)
        archive = folder / f"{FILES[2]}.gz"
        archive.write_bytes(archive.read_bytes()[:-100])
        self.fails(tmp_path / "new", address, "not found or corrupted")

    def test_of_several_processes_one_downloads_and_the_others_wait(self, server, tmp_path, monkeypatch):
        address, folder = server
        self.expect(monkeypatch, folder)
        found, downloads, fetch = [], [], released.fetch
        monkeypatch.setattr(released, "fetch", lambda *where: (downloads.append(where[1]), fetch(*where)))

        def prepare():
            kmnist = source(tmp_path / "new", download=True, mirror=address)
            kmnist.prepare()
            found.append(len(kmnist.train().labels))

        threads = [threading.Thread(target=prepare) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (found, downloads) == ([200] * 4, [f"{name}.gz" for name in FILES])
        assert files_in(tmp_path / "new") == sorted(FILES)

    def test_what_a_killed_download_has_left_is_no_data_and_goes_with_the_next_one(self, server, tmp_path, monkeypatch):
        address, folder = server
        self.expect(monkeypatch, folder)
        left = tmp_path / "new/.KMNIST-download-abc/KMNIST/raw"
        left.mkdir(parents=True)
        (left / FILES[0]).write_bytes(b"half of it")
        source(tmp_path / "new", download=True, mirror=address).prepare()
        assert files_in(tmp_path / "new") == sorted(FILES)

    def test_a_full_disk_leaves_nothing(self, server, tmp_path, monkeypatch):
        address, folder = server
        self.expect(monkeypatch, folder)

        def full(mirrors, archive, md5, to):
            (Path(to) / FILES[0]).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(released, "fetch", full)
        self.fails(tmp_path / "new", address, "No space left on device")

    def test_a_folder_that_cannot_be_written_is_named(self, server):
        with pytest.raises(DataError, match=r"/proc/nowhere.* cannot be written"):
            source(Path("/proc/nowhere"), download=True, mirror=server[0]).prepare()

    def test_does_not_mix_official_files_with_others(self, server, kmnist_root):
        (kmnist_root / "KMNIST/raw" / FILES[2]).unlink()
        with pytest.raises(DataError, match=rf"has 3 of its 4 files, but not {FILES[2]}: .* empty that folder"):
            source(kmnist_root, download=True, mirror=server[0]).prepare()
        assert len(files_in(kmnist_root)) == 3


class TestYourOwnFiles:
    def opened(self, root, **names):
        source = IdxFiles(str(root), **NAMES | names)
        source.prepare()
        return source

    def test_every_label_that_occurs_is_a_class(self, tmp_path):
        labels = np.array([3, 26, 1, 26, 3, 1])
        images = np.arange(6 * 20 * 10).reshape(6, 20, 10) % 256
        for images_name, labels_name in (("a", "b"), ("c", "d")):
            write_idx(tmp_path / images_name, images)
            write_idx(tmp_path / labels_name, labels)
        names = dict(zip(NAMES, "abcd", strict=True))
        source = self.opened(tmp_path, **names)
        assert source.class_names == ("1", "3", "26")
        found = source.train()
        assert found.labels.tolist() == [1, 2, 0, 2, 1, 0]
        assert np.array_equal(found.images[:, 0].numpy(), images)
        assert set(source.sha256) == set("abcd")

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda raw: (raw / "t10k-labels-idx1-ubyte").unlink(), "cannot be read .*; replace it"),
            (lambda raw: write_idx(raw / "t10k-labels-idx1-ubyte", np.full(50, 11)), "label 11, which is not among"),
            (lambda raw: write_idx(raw / "train-labels-idx1-ubyte", np.zeros(200)), "one class only, 0"),
            (lambda raw: write_idx(raw / "t10k-images-idx3-ubyte", np.zeros((50, 9, 9))), "its images are 9 x 9"),
            (lambda raw: write_idx(raw / "t10k-images-idx3-ubyte", np.zeros((49, 28, 28))), "50 labels, but"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, kmnist_root, damage, message):
        raw = kmnist_root / "KMNIST" / "raw"
        damage(raw)
        with pytest.raises(DataError, match=message) as caught:
            self.opened(raw)
        assert "download" not in str(caught.value)
