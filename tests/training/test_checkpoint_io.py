"""A checkpoint's file is always complete, whatever happens while it is written."""

from pathlib import Path

import pytest

from capsnet.errors import StorageError
from capsnet.runs.checkpoints import read_checkpoint
from capsnet.training.checkpoint_io import AtomicCheckpointIO


def test_a_full_disk_leaves_the_checkpoint_before_or_none_and_says_which(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    full = Path("/dev/full")  # every write to it fails
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr(Path, "open", lambda self, *mode: open(full, *mode))  # noqa: SIM115
    message = r"ckpt: a checkpoint cannot be saved \(No space left on device\); the file is "
    with pytest.raises(StorageError, match=message + "still the one of the epoch before"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    with pytest.raises(StorageError, match=message + "missing"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path.with_name("best.ckpt"))
    monkeypatch.undo()
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(path)["epoch"] == 1
