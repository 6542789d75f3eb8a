"""A person's own network, dataset, routing and augmentations, as a plugin, go everywhere that the project's own go."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import TWO_PROCESSES, curves_of, only_run, run_command, run_in_process

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
    assert before["config"]["optimizer"]["lr_decay"] == 0.9  # suits the network
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
    assert "val/margin_loss" in curves_of(folder).Tags()["scalars"]

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


@pytest.mark.slow
def test_sweeps_go_over_a_plugins_settings_and_are_continued(plugin, tmp_path):
    sweep = ("-m", plugin.replace("=", "='") + "'", *SETTINGS, "model=tiny", "model.width=4,8", "figures=false")
    run("train.py", *sweep, "hydra.sweep.dir=sweep", cwd=tmp_path, by=run_command)
    records = [record(tmp_path / "sweep" / job) for job in "01"]
    assert [one["status"] for one in records] == ["completed"] * 2
    assert records[0]["parameters"] != records[1]["parameters"]
    assert "which the sweep was started with" in run("train.py", "resume=sweep", cwd=tmp_path, code=2).stderr
    run("train.py", "resume=sweep", plugin.replace("=", "='") + "'", cwd=tmp_path)
    assert [record(tmp_path / "sweep" / job) for job in "01"] == records


RANKS = """
from pathlib import Path
from pytorch_lightning.callbacks import Callback

class Ranks(Callback):
    def on_train_end(self, trainer, pl_module):
        Path(f"rank{trainer.global_rank}").touch()
"""


@pytest.mark.slow
def test_a_routing_and_a_callback_by_name_are_in_both_of_two_processes(plugin, tmp_path):
    (tmp_path / "ranks.py").write_text(RANKS)
    (tmp_path / "mine/callbacks").mkdir(parents=True)
    (tmp_path / "mine/callbacks/ranks.yaml").write_text("ranks:\n  _target_: ranks.Ranks\n")
    small = ("model.conv_channels=4", "model.primary_capsules=2", "routing=mean", "routing.gain=2")
    chosen = (plugin.replace("=", "='") + "'", "--config-dir=mine", "callbacks=ranks", *SETTINGS, *small)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run_command("train.py", *chosen, *TWO_PROCESSES, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert record(folder)["status"] == "completed"
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"reconstructions", "perturbations"}
    assert {file.name for file in tmp_path.glob("rank?")} == {"rank0", "rank1"}


def test_a_routing_of_matrices_in_one_file_trains_and_is_scored(plugin, tmp_path):
    file = f"plugin='{Path(plugin.partition('=')[2]).with_name('strongest.py')}'"
    small = ("model=matrix_capsnet", "model.conv_channels=4", "model.primary_capsules=2", "routing=strongest")
    digits = ("data=digits", "data.limit=200", "data.batch_size=20", "trainer=cpu", "trainer.max_epochs=1")
    run("train.py", file, *digits, *small, "routing.sharpness=2", cwd=tmp_path)
    folder = only_run(tmp_path)
    assert record(folder)["status"] == "completed"
    run("evaluate.py", f"run={folder}", file.replace("'", ""), "figures=false", cwd=tmp_path)
    refused = run("train.py", file, *digits, "model.conv_channels=4", "routing=strongest", cwd=tmp_path, code=2)
    assert "routing=strongest: cannot route the capsules of model=capsnet; choose" in refused.stderr


def test_augmentations_are_combined_in_order_and_a_resumed_run_draws_the_same(plugin, tmp_path):
    quoted = plugin.replace("=", "='") + "'"
    chosen = (*SETTINGS[:-1], "model=tiny", "figures=false", "augment=[shift,noise,fade]", "augment.fade.share=0.5")
    for epochs, name in ((2, "whole"), (1, "resumed")):
        arguments = (quoted, *chosen, f"trainer.max_epochs={epochs}", f"hydra.run.dir={name}")
        done = run("train.py", *arguments, cwd=tmp_path)
        assert "max_shift 2, noise, fade (share 0.5)" in done.stdout
    assert f"add {plugin}" in run("train.py", "resume=resumed", cwd=tmp_path, code=2).stderr
    run("train.py", "resume=resumed", plugin, "trainer.max_epochs=2", cwd=tmp_path)
    whole, resumed = ((tmp_path / name / "metrics.csv").read_text() for name in ("whole", "resumed"))
    assert whole == resumed
    assert list(record(tmp_path / "whole")["config"]["augment"])[-2:] == ["noise", "fade"]
    for argument in ("augment=[fade]", "augment.fade.share=0.1"):
        refused = run("train.py", "resume=resumed", plugin, argument, "trainer.max_epochs=3", cwd=tmp_path, code=2)
        assert "cannot change in this run" in refused.stderr
        refused = run("evaluate.py", "run=whole", plugin, argument, cwd=tmp_path, code=2)
        assert f"{argument}: has no effect on an evaluation" in refused.stderr
    run("evaluate.py", "run=whole", plugin, cwd=tmp_path)


@pytest.mark.slow
def test_a_sweep_goes_over_augmentations_and_tabulates_their_settings(plugin, tmp_path):
    quoted = plugin.replace("=", "='") + "'"
    sweep = ("-m", quoted, *SETTINGS, "model=tiny", "figures=false", "augment=shift,[shift,fade],[fade,noise]")
    run("train.py", *sweep, "trainer.max_epochs=1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    records = [record(tmp_path / "sweep" / job) for job in "012"]
    assert [one["status"] for one in records] == ["completed"] * 3
    assert len({one["test_loss"] for one in records}) == 3
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        assert {row["augment"] for row in csv.DictReader(file)} == {"shift", "[shift,fade]", "[fade,noise]"}
    events = curves_of(tmp_path / "sweep" / "1")
    hyperparameters = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert all(key in hyperparameters for key in (b"augment.names", b"augment.fade.share"))


def test_a_plugin_cannot_take_the_name_of_a_preset(plugin, tmp_path):
    file = Path(plugin.partition("=")[2])
    file.write_text(file.read_text().replace('"fade": Fade', '"shift": Fade'))
    refused = run("train.py", plugin.replace("=", "='") + "'", *SETTINGS, cwd=tmp_path, code=2)
    assert "OPTIONS['augment']['shift']: augment=shift exists already; choose another name" in refused.stderr
