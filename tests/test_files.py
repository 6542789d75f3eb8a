"""Claims about files that are written whole or not at all, and folders that are removed only when empty."""

import hashlib
import json
import math
import os
import subprocess

import pytest

from capsnet.files import atomic_write, combined_digest, remove_empty, write_json


def test_a_file_that_cannot_be_written_to_its_end_keeps_its_old_content(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted():
        with atomic_write(path) as draft:
            draft.write_text("half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_until_it_is_whole_the_old_content_can_be_read(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_place_of_a_draft_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / f"report.json.{os.getpid()}.part").symlink_to(tmp_path / "mine")
    write_json(tmp_path / "report.json", {"accuracy": 1})
    assert (tmp_path / "mine").read_text() == "precious"
    assert json.loads((tmp_path / "report.json").read_text()) == {"accuracy": 1}


def test_json_has_null_for_what_is_no_finite_number_and_characters_as_they_are(tmp_path):
    write_json(tmp_path / "a.json", {"つ": [math.nan, {"x": math.inf}, (1, -math.inf)], "y": 0.1})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"つ": [None, {"x": None}, [1, None]], "y": 0.1}
    assert "つ" in text


def test_empty_folders_are_removed_up_to_the_first_that_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs/date/time"
    folder.mkdir(parents=True)
    (tmp_path / "outputs/kept").write_text("")
    remove_empty(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["outputs", "kept"]


def test_the_current_folder_and_those_above_it_are_never_removed(tmp_path, monkeypatch):
    here = tmp_path / "a" / "b"
    (here / "c").mkdir(parents=True)
    monkeypatch.chdir(here)
    remove_empty(here / "c")
    assert here.is_dir()
    assert not (here / "c").exists()


def test_an_empty_folder_elsewhere_is_removed_without_its_parents(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "elsewhere/run").mkdir(parents=True)
    remove_empty(tmp_path / "elsewhere/run")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_with_a_file_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/file").write_text("")
    remove_empty(tmp_path / "run")
    assert (tmp_path / "run/file").exists()


def test_the_digest_of_several_files_is_that_of_what_sha256sum_prints_for_them(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(name * 3)
    printed = subprocess.run(["sha256sum", "a", "b"], cwd=tmp_path, capture_output=True, check=True).stdout
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("b", "a")}
    assert combined_digest(digests) == hashlib.sha256(printed).hexdigest()
