"""A run is repeated in a new folder, and every metric is compared."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import DIGITS, only_run, record_of, run_command, run_in_process


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """The folder of a completed run."""
    folder = tmp_path_factory.mktemp("small")
    done = run_in_process("train.py", *DIGITS, "trainer.max_epochs=2", "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def copied(small_run, tmp_path):
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(small_run, tmp_path / "earlier"))


@pytest.mark.parametrize("threads", ["one thread", pytest.param("all threads", marks=pytest.mark.slow)])
def test_repeats_a_run_to_the_last_digit_in_a_new_folder(request, tmp_path, threads):
    if threads == "one thread":
        earlier = shutil.copytree(request.getfixturevalue("small_run"), tmp_path / "earlier")
        done = run_in_process("train.py", f"rerun={earlier}", cwd=tmp_path)
    else:
        earlier = shutil.copytree(request.getfixturevalue("finished_run"), tmp_path / "earlier")
        done = run_command("train.py", f"rerun={earlier}", cwd=tmp_path, OMP_NUM_THREADS=None)
    assert done.returncode == 0, done.stderr
    assert "Repeating earlier" in done.stdout
    epochs = record_of(earlier)["epochs"]
    assert f"Identical to earlier: every metric of {epochs} epochs, and of the test" in done.stdout
    run = only_run(tmp_path)
    assert (run / "metrics.csv").read_bytes() == (earlier / "metrics.csv").read_bytes()
    before, after = record_of(earlier), record_of(run)
    for name in ("overrides", "config", "dataset", "test_loss", "git_commit", "git_dirty"):
        assert before[name] == after[name], name
    assert (run / ".hydra/config.yaml").is_file()


def test_says_what_differs(copied, tmp_path):
    record = record_of(copied)
    record["versions"]["torch"] = "1.0"
    record["dataset"]["files"]["digits"] = "0" * 64
    record["metrics"]["test/loss"] = 0.5
    (copied / "results.json").write_text(json.dumps(record))
    lines = (copied / "metrics.csv").read_text().splitlines(keepends=True)
    (copied / "metrics.csv").write_text("".join(lines[:2]))
    done = run_in_process("train.py", f"rerun={copied}", cwd=tmp_path)
    assert done.returncode == 1
    assert "train/loss" in done.stdout  # of the second epoch, which is missing
    assert "torch " in done.stdout
    assert "(was 1.0)" in done.stdout
    assert "digits another file" in done.stdout
    assert "test/loss" in done.stdout
    assert "(was 0.5)" in done.stdout
    assert "Identical" not in done.stdout


def test_compares_what_both_have_measured(small_run, tmp_path):
    done = run_in_process("train.py", f"rerun={small_run}", "metrics=[f1]", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Identical to " in done.stdout
    assert "val/f1" in (only_run(tmp_path) / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["seed=3"], "seed=3: cannot change"),
        (["data.batch_size=64"], "data.batch_size=64: cannot change"),
        (["trainer.max_epochs=9"], "trainer.max_epochs=9: cannot change"),
        (["-m"], "rerun=: cannot be combined with -m"),
    ],
)
def test_repeats_the_same_run_only(copied, tmp_path, arguments, named):
    done = run_in_process("train.py", f"rerun={copied}", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_only_a_completed_run_can_be_compared(copied, tmp_path):
    (copied / "results.json").write_text(json.dumps(record_of(copied) | {"status": "interrupted"}))
    done = run_in_process("train.py", f"rerun={copied}", cwd=tmp_path)
    assert done.returncode == 2
    assert "this run is interrupted; only a completed run can be trained again" in done.stderr


@pytest.mark.parametrize("word", ["rerun", "resume"])
@pytest.mark.parametrize("content", [None, "[]"])
def test_a_folder_without_a_readable_record_is_refused(tmp_path, word, content):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run/results.json").write_text(content)
    done = run_in_process("train.py", f"{word}=run", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
