"""A checkpoint's file is always complete, whatever happens while it is written."""

import pytest
import torch

from capsnet.errors import StorageError
from capsnet.runs.checkpoints import read_checkpoint
from capsnet.training.checkpoint_io import AtomicCheckpointIO


def test_a_save_that_fails_leaves_the_checkpoint_before_it_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def full(content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    message = r"last\.ckpt: a checkpoint cannot be saved \(No space left on device\); .* of the epoch before"
    with pytest.raises(StorageError, match=message):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(path)["epoch"] == 1


def test_a_first_save_that_fails_leaves_no_file_and_says_so(tmp_path, monkeypatch):
    def fails(content, file):
        raise RuntimeError("unexpected pos")  # what torch says when a file cannot be written

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(StorageError, match=r"\(unexpected pos\); the file is missing"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_called_a_full_disk(tmp_path, monkeypatch):
    def full(content, file):
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos")  # what torch says when its writer fails

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match=r"\(No space left on device\)"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")


def test_ctrl_c_while_saving_is_ctrl_c(tmp_path, monkeypatch):
    def interrupted(content, file):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("unexpected pos")  # what torch says when its writer is interrupted

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
