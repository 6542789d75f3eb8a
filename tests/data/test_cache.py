"""Claims about the cache: what is found again, and what is not."""

import os

import numpy as np
import pytest

from capsnet.data.cache import ReadImages, cached, user_cache
from capsnet.data.pictures import DIGEST_BYTES

IMAGES = np.arange(2 * 1 * 3 * 3, dtype=np.uint8).reshape(2, 1, 3, 3)
DIGESTS = np.arange(2 * DIGEST_BYTES, dtype=np.uint8).reshape(2, DIGEST_BYTES)


class Reader:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return ReadImages(IMAGES + self.calls, DIGESTS, {3: "is empty"})


def test_the_same_state_is_read_once_and_another_replaces_it(tmp_path):
    read = Reader()
    first = cached(tmp_path, "folder", "state", read)
    again = cached(tmp_path, "folder", "state", read)
    assert read.calls == 1
    assert np.array_equal(first.images, again.images)
    assert again.broken == {3: "is empty"}
    assert np.array_equal(again.file_digests, DIGESTS)
    assert np.array_equal(cached(tmp_path, "folder", "later", read).images, IMAGES + 2)
    assert len(list(tmp_path.iterdir())) == 1
    cached(tmp_path, "another folder", "state", read)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_may_be_readable_at_another_time_is_not_kept(tmp_path):
    cached(tmp_path, "folder", "state", lambda: ReadImages(IMAGES, DIGESTS, {0: "cannot be read"}, lasting=False))
    assert not list(tmp_path.iterdir())


def test_another_pillow_reads_again(tmp_path, monkeypatch):
    read = Reader()
    for version in ("1.0", "1.1"):
        monkeypatch.setattr("PIL.__version__", version)
        cached(tmp_path, "folder", "state", read)
    assert read.calls == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_what_killed_processes_left_is_removed(tmp_path):
    cached(tmp_path, "folder", "state", Reader())
    (kept,) = tmp_path.iterdir()
    old, new, foreign = (tmp_path / name for name in (f"{kept.name}.1.part", f"{kept.name}.2.part", "film.part"))
    for path in (old, new, foreign):
        path.write_bytes(b"")
    for path in (old, foreign):
        os.utime(path, (0, 0))
    cached(tmp_path, "another folder", "state", Reader())
    assert not old.exists()
    assert new.exists()
    assert foreign.exists()


def test_nothing_is_kept_without_a_folder():
    read = Reader()
    for _ in range(2):
        cached(None, "folder", "state", read)
    assert read.calls == 2


@pytest.mark.parametrize(
    "damage", [lambda b: b[:100], lambda b: b.replace(bytes(range(1, 10)), bytes(9)), lambda b: b"no"]
)
def test_a_damaged_file_is_read_again_and_replaced(tmp_path, damage, caplog):
    read = Reader()
    cached(tmp_path, "folder", "state", read)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(cached(tmp_path, "folder", "state", read).images, IMAGES + 2)
    assert "damaged" in caplog.text
    assert np.array_equal(cached(tmp_path, "folder", "state", read).images, IMAGES + 2)


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    found = cached(tmp_path / "file" / "cache", "folder", "state", Reader())
    assert np.array_equal(found.images, IMAGES + 1)
    assert "data.cache=null" in caplog.text


def test_the_folder_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "capsnet"
