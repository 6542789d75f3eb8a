"""Claims about the trained models that come with the project."""

import re

import pytest
import torch
from conftest import run_in_process, start_command

from capsnet import load
from capsnet.data.kmnist_7k import KMNIST7k
from capsnet.errors import CheckpointError
from capsnet.runs.record import read_record
from capsnet.runs.shipped import DEFAULT, FOLDER, shipped_names
from capsnet.shipped.__main__ import pack


@pytest.mark.parametrize("name", shipped_names())
def test_a_model_is_small_and_has_its_record_and_its_license(name):
    folder = FOLDER / name
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3e6
    record = read_record(folder)
    about = (folder / "README.md").read_text(encoding="utf-8")
    assert "CC BY-SA 4.0" in about
    assert f"{record['test_accuracy']:.2%}".replace("%", " %") in about


def test_the_model_has_the_accuracy_of_its_record():
    source = KMNIST7k()
    source.prepare()
    images, labels = source.test()
    right = (load(DEFAULT).predict(images).labels == labels).double().mean()
    assert float(right) == pytest.approx(read_record(FOLDER / DEFAULT)["test_accuracy"], abs=0.001)


def test_a_name_that_is_no_model_is_an_error_that_names_those_there_are():
    with pytest.raises(CheckpointError, match=rf"nothing: there is no such run .*\({'.*' + DEFAULT}\)"):
        load("nothing")


def test_a_run_in_a_folder_of_the_same_name_goes_first(finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / DEFAULT).mkdir()
    assert load(DEFAULT).class_names[0] == "o"  # a folder without a run does not count
    (tmp_path / DEFAULT).rmdir()
    (tmp_path / DEFAULT).symlink_to(finished_run)
    assert load(DEFAULT).class_names == tuple("0123456789")


@pytest.mark.slow
def test_the_explorer_opens_on_it_if_no_run_is_named(tmp_path):
    process = start_command("capsnet.explore", "--port", "0", "--no-browser", cwd=tmp_path)
    printed = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=30)
    assert re.match(r"res_capsnet on kmnist_7k: test accuracy \d\d\.\d+%", printed)


@pytest.mark.slow
def test_it_is_exported_to_the_current_folder(tmp_path):
    done = run_in_process("capsnet.export", str(FOLDER / ".." / FOLDER.name / DEFAULT), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2,000 test images: the same predictions" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decoder.onnx", "model.onnx"]


def test_a_run_is_packed_with_its_weights_in_half_precision(finished_run, tmp_path):
    pack(finished_run, tmp_path / "packed")
    whole, packed = load(finished_run), load(tmp_path / "packed")
    for name, weight in whole.network.state_dict().items():
        torch.testing.assert_close(packed.network.state_dict()[name], weight.half().to(weight.dtype), atol=0, rtol=0)
    record, before = read_record(tmp_path / "packed"), read_record(finished_run)
    assert record["test_accuracy"] == record["metrics"]["test/accuracy"]
    assert record["metrics"] == pytest.approx(before["metrics"], abs=0.01)
    assert record["overrides"] == before["overrides"]
    sizes = [folder.joinpath("checkpoints/best.ckpt").stat().st_size for folder in (finished_run, tmp_path / "packed")]
    assert sizes[1] < 0.51 * sizes[0]
