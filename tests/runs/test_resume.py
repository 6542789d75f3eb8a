"""A run that was interrupted continues as if nothing had happened."""

import json
import time

import pytest
import pytorch_lightning as pl
from conftest import DIGITS, curves_of, digits_config, record_of, run_in_process, start_command, table, wait_until
from pytorch_lightning.callbacks import Timer

from capsnet.errors import CheckpointError, ConfigError
from capsnet.runs.record import read_record
from capsnet.runs.resume import resumed
from capsnet.training.run import train

# Whatever draws random numbers in training.
RANDOM = {"model__dropout": 0.5, "augment__max_shift": 2, "augment__cutout_size": 8, "trainer__max_epochs": 4}
RANDOM["trainer__log_every_n_steps"] = 1


class InterruptedAt(pl.Callback):
    """Interrupts at the beginning of one step; epochs and steps count from 1."""

    def __init__(self, epoch: int, step: int):
        self.moment = (epoch - 1, step - 1)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.moment:
            raise KeyboardInterrupt


class HourPassesAt(InterruptedAt):
    """Lets an hour of trainer.max_time pass in one step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.moment:
            timer = next(callback for callback in trainer.callbacks if isinstance(callback, Timer))
            timer._offset += 3600


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole")
    train(digits_config(**RANDOM), run)
    return run


def expected_steps(run) -> int:
    return int(table(run / "metrics.csv")[-1]["step"])


def metrics(run) -> bytes:
    return (run / "metrics.csv").read_bytes()


@pytest.mark.parametrize(("epoch", "step"), [(1, 2), (4, 5)])
def test_an_interrupted_run_ends_with_the_metrics_of_a_whole_one_to_the_last_digit(tmp_path, whole_run, epoch, step):
    assert train(digits_config(**RANDOM), tmp_path, callbacks=[InterruptedAt(epoch, step)]).status == "interrupted"
    time.sleep(1)  # TensorBoard reads the files of a second in any order, and a process resumes a run later than that
    after = train(digits_config(**RANDOM), tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(whole_run)
    expected = read_record(whole_run)
    for name in ("status", "epochs", "best_epoch", "metrics"):
        assert getattr(after, name) == expected[name], name
    events = curves_of(tmp_path)  # TensorBoard has each epoch and each step once
    assert [event.value for event in events.Scalars("epoch")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("step/loss")] == list(range(1, expected_steps(tmp_path) + 1))


def test_a_run_whose_loss_does_not_reach_all_weights_continues_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr("capsnet.losses.with_reconstruction", lambda losses, *_: {"loss": sum(losses.values())})
    train(digits_config(trainer__max_epochs=1), tmp_path)
    assert train(digits_config(trainer__max_epochs=2), tmp_path, resume=True).epochs == 2


def test_what_was_written_after_the_last_checkpoint_is_done_again_also_in_a_folder_that_was_moved(tmp_path, whole_run):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    train(digits_config(**RANDOM), before, callbacks=[InterruptedAt(3, 1)])
    with (before / "metrics.csv").open("a") as file:
        file.write("3,15,0.1,0,0,0,0,0,0,0,0\n4,20,0.")  # as if killed while it wrote
    before.rename(after)
    results = train(digits_config(**RANDOM), after, resume=True)
    assert metrics(after) == metrics(whole_run)
    assert results.best_epoch == read_record(whole_run)["best_epoch"]


def test_a_first_epoch_that_was_cut_short_begins_again_with_the_same_weights(tmp_path):
    decays = {"optimizer__name": "adamw", "optimizer__weight_decay": 0.5, "trainer__max_epochs": 1}
    for folder, steps in (("whole", 100), ("parts", 2)):
        (tmp_path / folder).mkdir()
        train(digits_config(**decays, trainer__max_steps=steps), tmp_path / folder)
    train(digits_config(**decays, trainer__max_steps=100), tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")


def test_a_completed_run_may_be_trained_for_more_epochs(tmp_path, whole_run):
    train(digits_config(**RANDOM | {"trainer__max_epochs": 2}), tmp_path)
    train(digits_config(**RANDOM), tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(whole_run)


def test_a_run_whose_learning_rate_ends_with_it_cannot_be_trained_for_more_epochs(tmp_path):
    cosine = {"optimizer__schedule": "cosine"}
    train(digits_config(**cosine), tmp_path)
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs=4: .* planned to end after 2 epochs; start a new run"):
        resumed(tmp_path, {"trainer.max_epochs": "4"})


OTHER_TRAININGS = {
    "capsnet": {
        "optimizer": "adamw",
        "optimizer__schedule": "cosine",
        "optimizer__warmup_epochs": 1,
        "augment__mixup": 0.4,
        "trainer__average_weights": 0.9,
        "trainer__accumulate_grad_batches": 2,
        "trainer__fourier": "on",
        "model__decoder": "convolutional",
        "model.conv_channels": 16,
        "model.primary_capsules": 4,
    },
    "batch normalization, float64": {
        "model": "res_capsnet",
        "model__width": 4,
        "model__blocks": 1,
        "model__primary_dim": 4,
        "model__dropout": 0.5,
        "trainer__precision": "64-true",
        "trainer__average_weights": 0.9,
        "augment__rotation": 10.0,
        "augment__elastic": 0.7,
        "augment__stroke": 0.5,
        "augment__erasing": 0.5,
    },
    "as the authors of the 2017 paper": {
        "model.conv_channels": 16,
        "model.primary_capsules": 4,
        "model__divide_primary": True,
        "model__first_weights": "authors",
        "routing__bias": True,
        "loss__reconstruction_weight": 7.84,
        "optimizer__lr_decay": 0.5,
        "optimizer__min_lr": 0.002,  # without it, 0.001 in the last epoch
    },
    "matrix capsules, variational Bayes": {
        "model": "matrix_capsnet",
        "routing": "vb",
        "model__conv_channels": 4,
        "model__primary_capsules": 2,
        "model__first_capsules": 2,
        "model__second_capsules": 2,
    },
}


@pytest.mark.parametrize("name", OTHER_TRAININGS)
def test_other_ways_of_training_continue_to_the_last_digit_too(tmp_path, name):
    config = digits_config(**RANDOM | OTHER_TRAININGS[name])
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    train(config, tmp_path / "whole")
    assert train(config, tmp_path / "parts", callbacks=[InterruptedAt(3, 2)]).status == "interrupted"
    after = train(config, tmp_path / "parts", resume=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    assert after.metrics == read_record(tmp_path / "whole")["metrics"]
    assert after.best_epoch == read_record(tmp_path / "whole")["best_epoch"]


def test_where_a_run_is_trained_may_change_again_and_again(tmp_path, whole_run):
    settings = {**RANDOM, "trainer__max_epochs": 2}
    train(digits_config(**settings), tmp_path)
    train(
        digits_config(**{**RANDOM, "trainer__max_epochs": 3}, trainer__enable_progress_bar=True), tmp_path, resume=True
    )
    train(digits_config(**RANDOM, figures=True), tmp_path, resume=True)  # best.ckpt may be from an earlier part
    assert metrics(tmp_path) == metrics(whole_run)


def test_a_training_that_early_stopping_has_ended_is_not_trained_on(tmp_path):
    stops = digits_config(**RANDOM, early_stopping__patience=1, early_stopping__min_delta=1.0)
    assert train(stops, tmp_path).epochs == 2
    before = metrics(tmp_path)
    after = train(stops, tmp_path, resume=True)  # as after a kill in its final test
    assert (after.status, after.epochs) == ("completed", 2)
    assert metrics(tmp_path) == before


def test_what_has_ended_a_run_is_what_has_to_be_raised(tmp_path):
    train(digits_config(trainer__max_steps=8, trainer__max_epochs=5), tmp_path)
    with pytest.raises(CheckpointError, match=r"after 2 epochs; to go on, set a higher trainer\.max_steps"):
        resumed(tmp_path, {"trainer.max_epochs": "9"})
    assert resumed(tmp_path, {"trainer.max_steps": "20"})[0].trainer.max_steps == 20


def test_what_early_stopping_has_ended_goes_on_with_more_epochs(tmp_path):
    stops = {**RANDOM, "early_stopping__patience": 1, "early_stopping__min_delta": 1.0}
    assert train(digits_config(**stops), tmp_path).epochs == 2
    config, _ = resumed(tmp_path, {"trainer.max_epochs": "6"})
    assert train(config, tmp_path, resume=True).epochs > 2


def test_limits_that_were_reached_together_are_raised_together(tmp_path):
    train(digits_config(trainer__max_steps=10, trainer__max_epochs=2), tmp_path)
    for one in ("trainer.max_epochs", "trainer.max_steps"):
        with pytest.raises(CheckpointError, match=r"set a higher trainer\.max_epochs and trainer\.max_steps"):
            resumed(tmp_path, {one: "90"})
    resumed(tmp_path, {"trainer.max_epochs": "4", "trainer.max_steps": "90"})


def test_a_run_that_its_number_of_steps_has_ended_may_be_given_more(tmp_path, whole_run):
    steps = 8
    ended = train(digits_config(**RANDOM, trainer__max_steps=steps, trainer__min_epochs=3), tmp_path)
    assert (ended.status, ended.epochs) == ("completed", 1 + steps // 6)
    time.sleep(1)  # see above
    after = train(digits_config(**RANDOM, trainer__max_steps=100, trainer__min_epochs=3), tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(whole_run)
    expected = read_record(whole_run)
    assert (after.best_epoch, after.metrics) == (expected["best_epoch"], expected["metrics"])
    assert [event.value for event in curves_of(tmp_path).Scalars("epoch")] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_short_epoch_that_is_better_than_the_whole_one_does_not_stay_the_best(tmp_path):
    worse = {"optimizer__lr": 0.03, "optimizer__lr_decay": 1.0, "model__dropout": 0.5, "trainer__max_epochs": 6}
    for folder, steps in (("whole", 100), ("parts", 28)):
        (tmp_path / folder).mkdir()
        train(digits_config(**worse, trainer__max_steps=steps), tmp_path / folder)
    train(digits_config(**worse, trainer__max_steps=100), tmp_path / "parts", resume=True)
    whole, parts = read_record(tmp_path / "whole"), read_record(tmp_path / "parts")
    assert (parts["best_epoch"], parts["test_loss"]) == (whole["best_epoch"], whole["test_loss"])


def test_a_run_that_its_time_limit_has_ended_may_be_given_more_time(tmp_path, whole_run):
    epoch, step = 2, 5
    limited = digits_config(**RANDOM, trainer__max_time="00:01:00:00")
    ended = train(limited, tmp_path, callbacks=[HourPassesAt(epoch, step)])
    assert (ended.status, ended.epochs) == ("completed", epoch)
    train(digits_config(**RANDOM, trainer__max_time="00:02:00:00"), tmp_path, resume=True)
    assert metrics(tmp_path) == metrics(whole_run)


def test_a_complete_run_is_not_repeated_and_what_is_trained_cannot_change(whole_run):
    with pytest.raises(CheckpointError, match="is complete after 4 epochs"):
        resumed(whole_run, {"trainer.devices": "1"})
    with pytest.raises(ConfigError, match=r"optimizer\.lr=0\.1: cannot change in this run \(was 0\.004\)"):
        resumed(whole_run, {"optimizer.lr": "0.1", "trainer.max_epochs": "9"})


class TestCommand:
    @pytest.mark.slow
    def test_a_killed_run_is_resumed_and_ends_with_the_metrics_of_a_whole_one(self, tmp_path):
        settings = (*DIGITS, "model.dropout=0.5", "augment=shift_cutout", "trainer.max_epochs=4")
        done = run_in_process("train.py", *settings, "hydra.run.dir=whole", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        killed = tmp_path / "killed"
        process = start_command("train.py", *settings, "hydra.run.dir=killed", cwd=tmp_path)
        wait_until((killed / "checkpoints/last.ckpt").exists, process)
        process.kill()
        process.communicate()
        assert record_of(killed)["status"] == "running"
        done = run_in_process("train.py", "resume=killed", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert metrics(killed) == metrics(tmp_path / "whole")
        assert "epoch 4/4" in (killed / "train.log").read_text()
        again = run_in_process("train.py", "resume=killed", cwd=tmp_path)
        assert again.returncode == 2
        assert "is complete after 4 epochs" in again.stderr

    def test_overrides_are_recorded_beside_the_runs_own(self, tmp_path, whole_run):
        train(digits_config(trainer__max_epochs=1), tmp_path, overrides=["data=digits"])
        done = run_in_process("train.py", f"resume={tmp_path}", "trainer.max_epochs=2", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / "results.json").read_text())
        assert record["overrides"] == ["data=digits", "trainer.max_epochs=2"]
        assert (record["status"], record["epochs"]) == ("completed", 2)

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["resume=nowhere"], "resume=nowhere: there is no such folder"),
            (["resume="], "resume=: there is no such folder"),
            (["resume=.", "-m"], "resume=: cannot be combined with -m"),
            (["resume=.", "rerun=."], "cannot be combined with"),
            (["resume=.", "seed"], "seed: settings are given as KEY=VALUE"),
        ],
    )
    def test_what_cannot_be_resumed_ends_in_one_line(self, tmp_path, arguments, named):
        done = run_in_process("train.py", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert named in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
