"""What a run chose on its validation images is trained again on all of them."""

import dataclasses

import pytest
from conftest import digits_config, only_run, record_of, run_in_process

from capsnet.errors import CheckpointError, ConfigError
from capsnet.runs.refit import refitting
from capsnet.training.run import train


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """A run that early stopping ended after its second epoch, so the first one is its best."""
    run = tmp_path_factory.mktemp("stopped")
    train(digits_config(trainer__max_epochs=4, early_stopping__patience=1, early_stopping__min_delta=1.0), run)
    return run


def test_trains_on_all_images_for_the_epochs_that_validation_chose(stopped_run, tmp_path):
    best = record_of(stopped_run)["best_epoch"]
    done = run_in_process("train.py", f"refit={stopped_run}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "again on all training images" in done.stdout
    before, after = record_of(stopped_run), record_of(only_run(tmp_path))
    assert before["dataset"]["train"] + before["dataset"]["val"] == after["dataset"]["train"] == 300
    assert "val" not in after["dataset"]
    assert (after["status"], after["epochs"], after["best_epoch"]) == ("completed", best, best)
    assert not [name for name in after["metrics"] if name.startswith("val/")]
    assert after["overrides"] == ["data.val_size=0", f"trainer.max_epochs={best}"]


def test_is_the_training_that_the_settings_describe(stopped_run, tmp_path):
    config, _ = refitting(stopped_run, {})
    epochs = record_of(stopped_run)["best_epoch"]
    assert config == digits_config(data__val_size=0, trainer__max_epochs=epochs, early_stopping__min_delta=1.0)


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"optimizer__schedule": "cosine"}, {}),  # its learning rate ends with the training: it keeps all epochs
        ({"trainer__max_steps": 9, "trainer__max_time": "00:01:00:00"}, {"max_steps": None, "max_time": None}),
    ],
)
def test_the_epochs_are_trained_to_their_end(tmp_path, settings, changed):
    best = train(digits_config(**settings), tmp_path).best_epoch
    expected = digits_config(**settings, data__val_size=0)
    expected.trainer = dataclasses.replace(expected.trainer, max_epochs=2 if not changed else best, **changed)
    assert refitting(tmp_path, {})[0] == expected


def test_a_warm_up_that_ends_after_the_best_epoch_is_trained_to_its_end(tmp_path):
    settings = {"trainer__max_epochs": 4, "early_stopping__patience": 1, "early_stopping__min_delta": 1.0}
    assert train(digits_config(**settings, optimizer__warmup_epochs=3), tmp_path).best_epoch < 3
    assert refitting(tmp_path, {})[0].trainer.max_epochs == 3


@pytest.mark.parametrize("limit", [{"trainer__max_steps": 7}, {"early_stopping__patience": 1}])
def test_a_schedule_that_was_cut_short_is_refused(tmp_path, limit):
    cosine = {"optimizer__schedule": "cosine", "trainer__max_epochs": 4, "early_stopping__min_delta": 1.0}
    train(digits_config(**cosine, **limit), tmp_path)
    with pytest.raises(CheckpointError, match="stopped after 2 of 4 epochs, before the end of its learning"):
        refitting(tmp_path, {})


def test_where_it_is_trained_may_change_but_not_what(stopped_run):
    assert refitting(stopped_run, {"trainer.devices": "2"})[0].trainer.devices == 2
    with pytest.raises(ConfigError, match=r"optimizer\.lr=0\.1: cannot change in this run"):
        refitting(stopped_run, {"optimizer.lr": "0.1"})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"data__val_size": 0}, "had no validation images to choose by"),
        ({"trainer__limit_val_batches": 0}, "was not validated"),
    ],
)
def test_a_run_that_chose_nothing_is_refused(tmp_path, setting, message):
    train(digits_config(**setting, trainer__max_epochs=1), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        refitting(tmp_path, {})


def test_a_folder_without_a_run_ends_in_one_line(tmp_path):
    done = run_in_process("train.py", "refit=.", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
