"""Claims about `python -m capsnet.predict`: what it prints, for people and for programs, and how it ends."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_folder_of_digits, only_run, record_of, run_in_process
from PIL import Image

from capsnet.data.digits import Digits
from capsnet.tasks.classify import Classify
from capsnet.tasks.task import Task

PREDICT = "capsnet.predict"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The test images of data=digits as PNG files, in folders of their classes."""
    root = tmp_path_factory.mktemp("pictures")
    source = Digits()
    source.prepare()
    for number, (image, label) in enumerate(zip(*source.test(), strict=True)):
        folder = root / str(int(label))
        folder.mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(folder / f"{number}.png")
    return root


def test_the_test_images_give_the_accuracy_of_the_evaluation(finished_run, pictures, tmp_path):
    done = run_in_process(PREDICT, str(finished_run), str(pictures), "--csv", "found.csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads((finished_run / "evaluation.json").read_text())
    right = round(report["accuracy"] * 360)
    assert "360 pictures classified\n" in done.stdout
    assert f"{right / 360:.2%} of them, {right}, are in the folder of their class" in done.stdout
    with (tmp_path / "found.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    files = [Path(row["file"]) for row in rows]
    assert sum(file.parent.name == row["class"] for file, row in zip(files, rows, strict=True)) == right
    places = [(int(file.parent.name), int(file.stem)) for file in files]
    assert places == sorted(places)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["file", "class", "score", "second", "class", "second", "score"]
    assert len(lines) > 360


def test_a_task_with_several_answers_names_each_with_its_score():
    class Pairs(Task):
        def answers(self, scores):
            return scores.topk(2, dim=1).indices

    assert Classify().prediction(torch.tensor([0.5]), ("o",)) == {"class": "o", "score": 0.5}
    said = Pairs().prediction(torch.tensor([0.125, 0.75, 0.5]), ("o", "ki", "su"))
    assert said == {"class_1": "ki", "score_1": 0.75, "class_2": "su", "score_2": 0.5}


def test_files_that_cannot_be_read_are_rows_with_a_reason_and_exit_code_1(finished_run, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    given = ("broken.png", str(pictures / "3"), "none.png")
    done = run_in_process(PREDICT, str(finished_run), *given, cwd=tmp_path)
    assert done.returncode == 1
    assert "is empty" in done.stdout
    assert "cannot be read (No such file or directory)" in done.stdout
    assert "2 files not readable" in done.stdout
    done = run_in_process(PREDICT, str(finished_run), *given, "--json", cwd=tmp_path)
    assert done.returncode == 1
    first, *found, last = json.loads(done.stdout)
    assert (first["file"], first["class"], first["error"]) == ("broken.png", None, "is empty")
    assert last["file"] == "none.png"
    for row in found:
        assert 0 <= row["second_score"] <= row["score"] < 1
        assert row["class"] != row["second_class"]
        assert not row["looks_inverted"]


def test_inverted_pictures_are_noted_and_can_be_turned_round(finished_run, pictures, tmp_path):
    light = tmp_path / "light"
    light.mkdir()
    for path in (pictures / "3").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(light / path.name)
    done = run_in_process(PREDICT, str(finished_run), "light", cwd=tmp_path)
    assert "light and dark the other way round" in done.stdout
    assert done.stdout.count("looks inverted") > 20
    turned = run_in_process(PREDICT, str(finished_run), "light", "--invert", "--json", cwd=tmp_path)
    straight = run_in_process(PREDICT, str(finished_run), str(pictures / "3"), "--json", cwd=tmp_path)
    scores = [[row["score"] for row in json.loads(done.stdout)] for done in (turned, straight)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "a.png"], "nothing: there is no such run or checkpoint"),
        (["."], "arguments are required: PICTURE_OR_FOLDER"),
        ([".", "empty"], "empty: has no pictures"),
        ([".", "a.png", "--csv", "none/found.csv"], "--csv none/found.csv: cannot be written there"),
        ([".", "a.png", "--csv", "empty"], "--csv empty: cannot be written there"),
        ([".", "a.png"], "best.ckpt: there is no such checkpoint"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments, message, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run_in_process(PREDICT, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_help_says_what_it_does(tmp_path):
    for arguments in ([], ["--help"]):
        done = run_in_process(PREDICT, *arguments, cwd=tmp_path)
        assert done.returncode == 0
        assert done.stdout.startswith("Classify pictures")


def test_a_folder_is_trained_on_evaluated_and_predicted(tmp_path):
    digits = tmp_path / "Meine Bücher (it's)"
    make_folder_of_digits(digits, {"train": 40, "test": 20}, classes=2)
    (digits / "train/one/0.png").write_bytes(b"")
    small = ("model=small_capsnet", "model.conv_channels=4", "model.primary_capsules=2", "trainer=cpu")
    small = (*small, "trainer.max_epochs=4", "optimizer.schedule=exponential", "data.normalize=null")
    train = ("train.py", "data=folder", f"data.root={digits.name}", "data.batch_size=8", *small)
    refused = run_in_process(*train, cwd=tmp_path)
    assert refused.returncode == 2
    assert "1 file cannot be used: train/one/0.png is empty" in refused.stderr
    assert not list(tmp_path.rglob("results.json"))
    done = run_in_process(*train, "data.skip_broken=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    record = record_of(run)
    assert record["dataset"]["left_out"] == {"train/one/0.png": "is empty"}
    assert record["config"]["model"]["name"] == "small_capsnet"
    assert record["test_accuracy"] > 0.8
    scored = run_in_process("evaluate.py", f"run={run}", cwd=tmp_path)
    assert f"{record['test_accuracy']:.2%} of 40 images" in scored.stdout
    assert json.loads((run / "evaluation.json").read_text())["differences"] == []
    found = run_in_process(PREDICT, str(run), f"{digits.name}/test", cwd=tmp_path)
    assert f"{record['test_accuracy']:.2%} of them, {round(40 * record['test_accuracy'])}, are" in found.stdout
    (digits / "test/one/session").mkdir()
    (digits / "test/one/0.png").rename(digits / "test/one/session/0.png")
    found = run_in_process(PREDICT, str(run), f"{digits.name}/test", cwd=tmp_path)
    assert f"{record['test_accuracy']:.2%} of them, {round(40 * record['test_accuracy'])}, are" in found.stdout
    (digits / "test/one/session/0.png").unlink()
    resumed = run_in_process("train.py", f"resume={run}", "trainer.max_epochs=5", cwd=tmp_path)
    assert resumed.returncode == 2
    assert "not the data that this run began with: test has changed" in resumed.stderr


def test_what_scores_too_little_is_none_of_the_classes(finished_run, pictures, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(tmp_path / "noise.png")
    given = ["noise.png", str(pictures / "3"), "--json"]
    plain = json.loads(run_in_process(PREDICT, str(finished_run), *given, cwd=tmp_path).stdout)
    least = sorted(row["score"] for row in plain)[len(plain) // 2]
    done = run_in_process(PREDICT, str(finished_run), *given, "--least", str(least), cwd=tmp_path)
    for before, row in zip(plain, json.loads(done.stdout), strict=True):
        assert row["class"] == (before["class"] if row["score"] >= least else None)
        assert row["none_of_them"] == (row["score"] < least) == (row["class"] is None)
    shown = run_in_process(PREDICT, str(finished_run), *given[:2], "--least", "1", cwd=tmp_path).stdout
    assert shown.count("none of them") == len(plain)
    wrong = run_in_process(PREDICT, str(finished_run), *given, "--least", "50", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "Error: --least 50: must be from 0 to 1, as scores are\n")


def test_the_scores_of_all_classes_are_in_json_and_in_a_table_that_excel_reads_as_utf8(
    finished_run, pictures, tmp_path
):
    given = [str(pictures / "3"), "--all", "--json", "--csv", "found.csv"]
    rows = json.loads(run_in_process(PREDICT, str(finished_run), *given, cwd=tmp_path).stdout)
    assert (tmp_path / "found.csv").read_bytes().startswith(b"\xef\xbb\xbffile,class,score,")
    with (tmp_path / "found.csv").open(newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file))
    for row, line in zip(rows, table, strict=True):
        assert max(row["scores"], key=row["scores"].get) == row["class"]
        assert max(row["scores"].values()) == row["score"]
        assert {name: float(line[f"score of {name}"]) for name in row["scores"]} == row["scores"]
