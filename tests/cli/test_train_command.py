"""`train.py` from one end to the other, run from a folder that is not the project's."""

import json
import re

import pytest
import torch
from conftest import DIGITS, only_run, record_of, run_in_process, table

FIGURES = {"curves", "reconstructions", "perturbations", "confusion", "mistakes"}
RECORD = {
    *("status", "dataset", "overrides", "seed", "parameters", "epochs", "best_epoch", "val_accuracy", "test_accuracy"),
    *("test_loss", "train_seconds", "total_seconds", "train_images_per_second", "device", "precision", "versions"),
    *("git_commit", "plugin"),
}
METRICS = {
    f"{split}/{name}"
    for split in ("train", "val")
    for name in ("loss", "margin_loss", "reconstruction_loss", "accuracy")
}


class TestFinishedRun:
    def test_leaves_every_file_of_a_runs_folder(self, finished_run):
        for name in (".hydra/config.yaml", ".hydra/overrides.yaml", "train.log", "metrics.csv", "results.json"):
            assert (finished_run / name).is_file(), name
        assert {path.name for path in (finished_run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
        assert {path.stem for path in (finished_run / "figures").glob("*.png")} == FIGURES
        assert len(list(finished_run.glob("events.out.tfevents.*"))) == 1

    def test_learns_digits(self, finished_run):
        assert record_of(finished_run)["test_accuracy"] > 0.8

    def test_record_is_complete_and_agrees_with_the_metrics(self, finished_run):
        record = record_of(finished_run)
        assert set(record) >= RECORD
        assert record["status"] == "completed"
        assert (record["epochs"], record["seed"], record["plugin"]) == (3, 0, None)
        assert "routing.iters=2" in record["overrides"]
        counts = {name: record["dataset"][name] for name in ("train", "val", "test")}
        assert counts == {"train": 1293, "val": 144, "test": 360}
        epochs = table(finished_run / "metrics.csv")
        best = max(epochs, key=lambda row: (float(row["val/accuracy"]), -float(row["val/loss"])))
        assert (record["best_epoch"], record["val_accuracy"]) == (int(best["epoch"]), float(best["val/accuracy"]))
        assert record["train_images_per_second"] > 0
        assert record["total_seconds"] > record["train_seconds"] > 0

    def test_metrics_have_a_row_per_epoch_with_every_name(self, finished_run):
        rows = table(finished_run / "metrics.csv")
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]
        assert set(rows[0]) == METRICS | {"epoch", "step", "lr"}
        for row in rows:
            total = float(row["train/margin_loss"]) + 0.392 * float(row["train/reconstruction_loss"])
            assert float(row["train/loss"]) == pytest.approx(total, rel=1e-4)
        rates = [float(row["lr"]) for row in rows]
        assert rates == pytest.approx([0.002, 0.004, 0.0032])  # CapsNet warms up for an epoch

    def test_terminal_shows_summary_epochs_and_what_to_do_next(self, finished_run):
        printed = (finished_run.parents[2] / "terminal.txt").read_text()
        for part in ("1,293 training, 144 validation", "parameters", "epoch 3/3", "test accuracy"):
            assert part in printed
        assert f"--logdir outputs/{finished_run.parent.name}/{finished_run.name}" in printed
        assert all(len(line) <= 80 for line in printed.splitlines() if line.startswith("epoch"))
        log = (finished_run / "train.log").read_text()
        assert all(line in log for line in printed.splitlines())

    def test_prints_nothing_as_an_error_and_no_messages_of_libraries(self, finished_run):
        folder = finished_run.parents[2]
        assert (folder / "errors.txt").read_text() == ""
        assert list((folder / "matplotlib").glob("fontlist*"))  # matplotlib has just searched for fonts, and logs it
        for text in (folder / "terminal.txt", finished_run / "train.log"):
            assert not re.search("font|lightning|tensorboard\\.|seed set", text.read_text(), re.IGNORECASE)

    def test_checkpoints_hold_nothing_but_tensors_and_plain_values(self, finished_run):
        for name in ("best.ckpt", "last.ckpt"):
            content = torch.load(finished_run / "checkpoints" / name, weights_only=True)
            assert content["capsnet_config"]["routing"]["iters"] == 2


def test_same_seed_twice_gives_identical_metrics(tmp_path):
    settings = ("augment=shift_cutout", "model.dropout=0.3", "trainer.max_epochs=2", "seed=5")
    for name in ("one", "two"):
        done = run_in_process("train.py", *DIGITS, *settings, f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one/metrics.csv").read_bytes() == (tmp_path / "two/metrics.csv").read_bytes()


def test_bf16_debug_and_early_stopping_work_together(tmp_path):
    arguments = ("trainer=debug", "trainer.precision=bf16-mixed", "early_stopping.patience=1", "data.batch_size=8")
    done = run_in_process("train.py", *DIGITS, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = record_of(only_run(tmp_path))
    assert (record["precision"], record["epochs"]) == ("bf16-mixed", 2)
    assert len(table(only_run(tmp_path) / "metrics.csv")) == 2


def test_without_validation_the_newest_checkpoint_is_tested(tmp_path):
    done = run_in_process("train.py", *DIGITS, "data.val_size=0", "trainer.max_epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = record_of(only_run(tmp_path))
    assert ("val_accuracy" in record, record["best_epoch"]) == (False, 2)
    assert record["test_accuracy"] > 0.1
    assert {path.name for path in (only_run(tmp_path) / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_early_stopping_ends_a_run_that_gets_no_better(tmp_path):
    arguments = ("optimizer.lr=1e-12", "early_stopping.patience=2", "trainer.max_epochs=50")
    done = run_in_process("train.py", *DIGITS, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = record_of(only_run(tmp_path))
    assert (record["epochs"], record["best_epoch"]) == (3, 1)


@pytest.mark.parametrize(
    "argument", ["trainer.max_steps=3", "trainer.check_val_every_n_epoch=2", "trainer.precision=64-true"]
)
def test_a_completed_run_has_a_best_checkpoint_that_can_be_evaluated(tmp_path, argument):
    done = run_in_process("train.py", *DIGITS, "trainer.max_epochs=3", argument, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_in_process("evaluate.py", f"run={only_run(tmp_path)}", "figures=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_figures_may_be_left_out_and_drawn_later_by_an_evaluation(tmp_path):
    done = run_in_process("train.py", *DIGITS, "trainer.max_epochs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert not (run / "figures").exists()
    assert "figures" not in done.stdout
    done = run_in_process("evaluate.py", f"run={run}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in (run / "figures").glob("*.png")} == FIGURES
    assert json.loads((run / "evaluation.json").read_text())["accuracy"] == record_of(run)["test_accuracy"]


ASKING_FOR_A_SWEEP = (
    ["seed=1", "-m"],
    ["sweep=routing", "routing.iters=1"],
)


@pytest.mark.parametrize("arguments", ASKING_FOR_A_SWEEP)
def test_a_sweep_is_asked_for_by_a_flag_anywhere_on_the_command_line_or_by_its_name(tmp_path, arguments):
    done = run_in_process("train.py", *DIGITS, "trainer.fast_dev_run=true", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[1/1] job 0" in done.stdout
