"""`evaluate.py` on a run that `train.py` has left."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import run_in_process


@pytest.mark.slow
def test_the_command_that_training_printed_works_as_it_stands(finished_run):
    folder = finished_run.parents[2]
    (command,) = re.findall(r"^  evaluate +(.*)$", (folder / "terminal.txt").read_text(), re.MULTILINE)
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "of 360 images" in done.stdout
    assert done.stderr == ""


def test_writes_the_report_and_prints_it(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "evaluation.json").unlink()
    done = run_in_process("evaluate.py", "run=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "evaluation.json").read_text())
    assert {"accuracy", "balanced_accuracy", "loss", "per_class_accuracy", "confusion"} <= set(report)
    assert f"{report['accuracy']:.2%} of 360 images" in done.stdout


def test_shifts_are_reported_beside_the_plain_accuracy(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = json.loads((run / "evaluation.json").read_text())
    done = run_in_process("evaluate.py", "run=run", "shifts=1", "figures=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "evaluation.json").read_text())
    assert report["accuracy"] == before["accuracy"]
    assert (report["shifts"]["pixels"], report["shifts"]["passes"]) == (1, 9)
    assert f"{report['shifts']['accuracy']:.2%}, the scores averaged over 9 shifts" in done.stdout
    assert f"{report['accuracy']:.2%} of 360 images" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run=nowhere"], "nowhere"),
        (["checkpoint=nothing.ckpt"], "nothing.ckpt"),
        (["outputs"], "KEY=VALUE"),
        (["data.root=x"], "run=RUN_DIR"),
        (["run=a", "checkpoint=b"], "give either run=RUN_DIR or checkpoint=FILE"),
    ],
)
def test_a_mistake_in_what_to_evaluate_ends_in_one_line(tmp_path, arguments, named):
    done = run_in_process("evaluate.py", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
