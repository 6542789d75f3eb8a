"""A person's own network, dataset and routing, as a plugin, go everywhere that the project's own go."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import TWO_PROCESSES, only_run, run_command, run_in_process
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from capsnet.settings.config import OPTIONS
from capsnet.text import either

PLUGIN = Path(__file__).with_name("plugins") / "stripes.py"
SETTINGS = ("data=stripes", "data.batch_size=20", "trainer=cpu", "trainer.max_epochs=2")


@pytest.fixture
def plugin(tmp_path):
    """A plugin's file and the module beside it that it imports, in a folder of their own."""
    folder = Path(shutil.copytree(PLUGIN.parent, tmp_path / "my plugins"))
    return f"plugin={folder / PLUGIN.name}"


def run(program, *arguments, cwd, code=0, by=run_in_process):
    done = by(program, *arguments, cwd=cwd)
    assert done.returncode == code, done.stderr
    return done


def record(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_network_without_capsules_or_decoder_trains_resumes_evaluates_and_draws(plugin, tmp_path):
    run("train.py", plugin.replace("=", "='") + "'", *SETTINGS, "model=tiny", cwd=tmp_path)
    folder = only_run(tmp_path)
    before = record(folder)
    assert before["status"] == "completed"
    assert before["test_accuracy"] > 0.5
    assert before["dataset"]["name"] == "stripes"
    assert {name: before["dataset"][name] for name in ("train", "val", "test")} == {"train": 180, "val": 20, "test": 50}
    assert set(before["dataset"]["files"]) == {"train", "test"}
    assert set(before["plugin"]) == {"path", "sha256"}
    assert {path.stem for path in (folder / "figures").iterdir()} == {"curves", "confusion", "mistakes"}
    with (folder / "metrics.csv").open() as file:
        names = next(csv.reader(file))
    assert [name for name in names if name.startswith("train/")] == [
        "train/loss",
        "train/margin_loss",
        "train/accuracy",
    ]
    assert "val/margin_loss" in EventAccumulator(str(folder)).Reload().Tags()["scalars"]

    for program, word in (("evaluate.py", "run"), ("train.py", "resume"), ("train.py", "rerun")):
        refused = run(program, f"{word}={folder}", cwd=tmp_path, code=2)
        assert f"add {plugin}" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert record(folder) == before

    scored = run("evaluate.py", f"run={folder}", plugin, cwd=tmp_path)
    assert f"{before['test_accuracy']:.2%} of 50 images" in scored.stdout
    run("train.py", f"resume={folder}", plugin, "trainer.max_epochs=3", cwd=tmp_path)
    assert record(folder)["epochs"] == 3
    assert len((folder / "metrics.csv").read_text().splitlines()) == 4
    assert "Identical" in run("train.py", f"rerun={folder}", plugin, cwd=tmp_path).stdout

    file = Path(plugin.partition("=")[2])
    file.write_text(file.read_text() + "\n# changed\n")
    changed = run("evaluate.py", f"run={folder}", plugin, cwd=tmp_path)
    assert "has changed since this run was trained" in changed.stdout


@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")])
def test_sweeps_go_over_a_plugins_settings_and_are_continued(plugin, tmp_path, launcher):
    sweep = ("-m", plugin.replace("=", "='") + "'", *SETTINGS, "model=tiny", "model.width=4,8", "figures=false")
    run("train.py", *sweep, *launcher, "hydra.sweep.dir=sweep", cwd=tmp_path, by=run_command)
    records = [record(tmp_path / "sweep" / job) for job in "01"]
    assert [one["status"] for one in records] == ["completed"] * 2
    assert records[0]["parameters"] != records[1]["parameters"]
    if launcher:
        return
    assert "add plugin=" in run("train.py", "resume=sweep", cwd=tmp_path, code=2).stderr
    run("train.py", "resume=sweep", plugin.replace("=", "='") + "'", cwd=tmp_path)
    assert [record(tmp_path / "sweep" / job) for job in "01"] == records


def test_a_routing_and_two_processes(plugin, tmp_path):
    small = ("model.conv_channels=4", "model.primary_capsules=2", "routing=mean", "routing.gain=2")
    run("train.py", plugin.replace("=", "='") + "'", *SETTINGS, *small, *TWO_PROCESSES, cwd=tmp_path, by=run_command)
    folder = only_run(tmp_path)
    assert record(folder)["status"] == "completed"
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"reconstructions", "perturbations"}


def test_a_plugins_keys_are_checked_as_the_projects_own(plugin, tmp_path):
    quoted = plugin.replace("=", "='") + "'"
    for argument, named in (
        ("routing.gain=0", "routing.gain=0.0: must be above 0"),
        ("routing.gains=1", "did you mean routing.gain?"),
        ("routing.iters=3", "belongs to routing=dynamic, not to routing=mean"),
        ("model=none_such", f"choose {either(sorted([*OPTIONS['model'], 'tiny']))}"),
    ):
        refused = run("train.py", quoted, *SETTINGS, "routing=mean", argument, cwd=tmp_path, code=2)
        assert named in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
