"""Cases that once lost data, gave wrong results without a word, or crashed: files with wrong content, odd folders."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, make_kmnist, record_of, run_in_process, write_idx

from capsnet.training.callbacks import Checkpoints

TINY = ("data.limit=120", "data.batch_size=50", "model.class_dim=4", "routing.iters=2", "figures=false", *SMALL)
DIGITS = ("data=digits", *TINY)
KMNIST = ("data=kmnist", "data.root=root", "data.val_size=20", *TINY)


def interrupted_run(folder: Path, *settings: str, epochs: int = 2, finished: int = 1) -> Path:
    """A run that Ctrl-C ended after so many epochs."""
    save, left = Checkpoints.on_train_epoch_end, [finished]

    def counted(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        save(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_epoch_end", counted)
        arguments = (*(settings or DIGITS), f"trainer.max_epochs={epochs}", "hydra.run.dir=run")
        done = run_in_process("train.py", *arguments, cwd=folder)
    assert done.returncode == 130, done.stderr
    assert record_of(folder / "run")["status"] == "interrupted"
    return folder / "run"


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory) -> Path:
    return interrupted_run(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture
def interrupted(interrupted_once, tmp_path) -> Path:
    """A run of two epochs, `tmp_path`/run, that was interrupted in the second."""
    return shutil.copytree(interrupted_once, tmp_path / "run")


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} | {
        str(path.relative_to(folder)): b"folder" for path in folder.rglob("*") if path.is_dir()
    }


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a program was refused with."""
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def refused_unchanged(folder: Path, program: str, *arguments: str) -> str:
    """Run a program that has to be refused in one line, with every file as it was."""
    before = files_in(folder)
    line = refusal(run_in_process(program, *arguments, cwd=folder))
    after = files_in(folder)
    after.pop("run/.lock", None)
    before.pop("run/.lock", None)
    assert after == before
    return line


def change_checkpoint(path: Path, change) -> None:
    """Save a checkpoint again with changed content."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


class TestCheckpoints:
    @pytest.mark.parametrize(
        "state",
        [
            lambda one: one | {"exp_avg": torch.zeros(2)},
            lambda one: one | {"exp_avg": torch.full_like(one["exp_avg"], math.nan)},
            lambda one: {},
        ],
    )
    def test_optimizer_state_that_does_not_fit_the_weights_is_refused_before_a_step(self, interrupted, state):
        def change(content):
            states = content["optimizer_states"][0]["state"]
            states[0] = state(states[0])

        change_checkpoint(interrupted / "checkpoints/last.ckpt", change)
        assert "optimizer's state does not fit" in refused_unchanged(interrupted.parent, "train.py", "resume=run")

    def test_optimizer_state_of_one_weight_given_to_another_is_refused_before_a_step(self, interrupted):
        def change(content):
            content["optimizer_states"][0]["param_groups"][0]["params"][-1] -= 1

        change_checkpoint(interrupted / "checkpoints/last.ckpt", change)
        assert "optimizer's state does not fit" in refused_unchanged(interrupted.parent, "train.py", "resume=run")

    def test_the_best_checkpoint_in_place_of_the_last_cannot_be_resumed(self, interrupted):
        shutil.copy(interrupted / "checkpoints/best.ckpt", interrupted / "checkpoints/last.ckpt")
        assert "it has only weights" in refused_unchanged(interrupted.parent, "train.py", "resume=run")

    def test_a_best_checkpoint_that_is_missing_is_not_replaced_in_silence(self, interrupted):
        (interrupted / "checkpoints/best.ckpt").unlink()
        assert "best.ckpt: is missing" in refused_unchanged(interrupted.parent, "train.py", "resume=run")

    def test_fewer_epochs_than_are_trained_already_leave_the_run_interrupted(self, tmp_path):
        run = interrupted_run(tmp_path, epochs=4, finished=3)
        line = refused_unchanged(tmp_path, "train.py", "resume=run", "trainer.max_epochs=2")
        assert "trainer.max_epochs=2: this run has 3 epochs already" in line
        assert len(list(run.glob("events.out.tfevents.*"))) == 1


class TestLossThatIsNotFinite:
    def test_of_the_only_step_makes_the_run_diverge_and_no_such_weights_are_saved(self, tmp_path):
        arguments = ("data.val_size=0", "trainer.limit_train_batches=1", "optimizer.lr=1e30", "trainer.max_epochs=1")
        done = run_in_process("train.py", *DIGITS, *arguments, "hydra.run.dir=run", cwd=tmp_path)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert "NaN or infinite" in line
        assert record_of(tmp_path / "run")["status"] == "diverged"
        for path in (tmp_path / "run").rglob("*.ckpt"):
            weights = torch.load(path, weights_only=True)["state_dict"]
            assert all(weight.isfinite().all() for weight in weights.values())


class TestData:
    def test_other_readable_files_than_the_run_began_with_are_refused(self, tmp_path):
        make_kmnist(tmp_path / "root")
        interrupted_run(tmp_path, *KMNIST)
        images = np.random.default_rng(1).integers(0, 256, (200, 28, 28))
        write_idx(tmp_path / "root/KMNIST/raw/train-images-idx3-ubyte", images)
        line = refused_unchanged(tmp_path, "train.py", "resume=run", "data.root=root")
        assert "train-images-idx3-ubyte has changed" in line

    def test_other_test_images_than_in_training_are_a_difference_in_the_evaluation(self, tmp_path):
        make_kmnist(tmp_path / "root")
        done = run_in_process("train.py", *KMNIST, "trainer.max_epochs=1", "hydra.run.dir=run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        write_idx(tmp_path / "root/KMNIST/raw/t10k-images-idx3-ubyte", np.zeros((50, 28, 28)))
        done = run_in_process("evaluate.py", "run=run", "data.root=root", "figures=false", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (report,) = (tmp_path / "run/evaluations").glob("*/evaluation.json")  # that of the run's own test stays
        (difference,) = json.loads(report.read_text())["differences"]
        assert "t10k-images-idx3-ubyte changed since the network was trained" in difference
        assert difference in done.stdout + done.stderr

    def test_test_images_of_another_size_are_refused_before_the_training(self, tmp_path):
        make_kmnist(tmp_path / "root")
        write_idx(tmp_path / "root/KMNIST/raw/t10k-images-idx3-ubyte", np.zeros((50, 20, 20)))
        line = refusal(run_in_process("train.py", *KMNIST, "hydra.run.dir=run", cwd=tmp_path))
        assert "t10k-images-idx3-ubyte" in line
        assert not (tmp_path / "run").exists()

    def test_a_saved_config_makes_no_folder_elsewhere(self, tmp_path):
        make_kmnist(tmp_path / "root")
        run = interrupted_run(tmp_path, *KMNIST, f"data.root={tmp_path}/root", "data.mirror=http://127.0.0.1:9/")
        (tmp_path / "root").rename(tmp_path / "moved")
        line = refused_unchanged(run.parent, "train.py", "resume=run")
        assert "data.download=false" in line

    def test_a_run_that_ended_before_its_first_checkpoint_starts_again_with_its_own_settings(self, tmp_path):
        run = interrupted_run(tmp_path, finished=0)
        assert not (run / "checkpoints/last.ckpt").exists()
        done = run_in_process("train.py", "resume=run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert record_of(run)["epochs"] == 2


class TestFoldersOfSomebodyElse:
    REFUSED = ("data.batch_size=100000", "trainer.limit_train_batches=0.0001", "routing.iters=100000000000")

    @pytest.mark.parametrize("refused", REFUSED)
    def test_keep_their_files_when_a_setting_is_refused(self, tmp_path, refused):
        (tmp_path / "sub").mkdir()
        for name in ("train.log", "movie.mkv.part", "sub/x.part"):
            (tmp_path / name).write_text("mine")
        key = refused.partition("=")[0]
        settings = [setting for setting in DIGITS if not setting.startswith(f"{key}=")]
        refused_unchanged(tmp_path, "train.py", *settings, refused, "hydra.run.dir=.")

    @pytest.mark.parametrize("name", ["metrics.csv", "checkpoints/best.ckpt", "train.log", "figures/curves.png"])
    def test_are_refused_if_a_file_would_be_replaced(self, tmp_path, name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
        line = refused_unchanged(tmp_path, "train.py", *DIGITS, "hydra.run.dir=.")
        assert f"already has {name.partition('/')[0]}" in line

    def test_with_a_lock_that_is_not_empty_are_refused(self, tmp_path):
        (tmp_path / ".lock").write_text("mine")
        refused_unchanged(tmp_path, "train.py", *DIGITS, "hydra.run.dir=.")
        refused_unchanged(tmp_path, "train.py", "-m", *DIGITS, "seed=1,2", "hydra.sweep.dir=.")


class TestCommandLine:
    def test_a_rank_left_in_the_environment_without_the_number_of_processes_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert "LOCAL_RANK" in refused_unchanged(tmp_path, "train.py", *DIGITS, "hydra.run.dir=run")

    @pytest.mark.parametrize(
        "variables", [{"RANK": "1"}, {"SLURM_PROCID": "1"}, {"SLURM_NTASKS": ""}, {"SLURM_NTASKS": "abc"}]
    )
    def test_other_leftovers_of_a_launcher_change_nothing(self, tmp_path, monkeypatch, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        arguments = (*DIGITS, "trainer.max_epochs=1", "hydra.run.dir=run")
        done = run_in_process("train.py", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "test accuracy" in done.stdout
        assert record_of(tmp_path / "run")["status"] == "completed"
