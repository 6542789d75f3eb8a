"""Claims about files that are written whole or not at all, and folders that are removed only when empty."""

import hashlib
import json
import math
import subprocess

import pytest

from capsnet.files import (
    atomic_write,
    combined_digest,
    make_folder,
    remove_made_folder,
    write_json,
)


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


def test_json_has_null_for_what_is_no_finite_number_and_characters_as_they_are(tmp_path):
    write_json(tmp_path / "a.json", {"つ": [math.nan, {"x": math.inf}, (1, -math.inf)], "y": 0.1})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"つ": [None, {"x": None}, [1, None]], "y": 0.1}
    assert "つ" in text


def test_only_folders_that_were_made_are_removed_and_only_while_they_are_empty(tmp_path):
    (tmp_path / "mine").mkdir()
    folder = tmp_path / "mine/outputs/date/time"
    make_folder(folder)
    remove_made_folder(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]

    make_folder(folder)
    (tmp_path / "mine/outputs/kept").write_text("")
    remove_made_folder(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "outputs", "kept"]


def test_a_folder_that_was_there_before_stays_though_it_is_empty(tmp_path):
    (tmp_path / "run").mkdir()
    make_folder(tmp_path / "run")
    remove_made_folder(tmp_path / "run")
    assert (tmp_path / "run").is_dir()


def test_the_digest_of_several_files_is_that_of_what_sha256sum_prints_for_them(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(name * 3)
    printed = subprocess.run(["sha256sum", "a", "b"], cwd=tmp_path, capture_output=True, check=True).stdout
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("b", "a")}
    assert combined_digest(digests) == hashlib.sha256(printed).hexdigest()
