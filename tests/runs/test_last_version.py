"""What the last version left behind still works: an interrupted run continues, and is evaluated and used."""

import json

import pytest
import pytorch_lightning as pl
import torch
from conftest import digits_config

from capsnet import load
from capsnet.reports.evaluation import evaluate_checkpoint
from capsnet.runs.record import read_record
from capsnet.runs.result import read_result
from capsnet.runs.resume import resumed
from capsnet.training.run import train

LATER_SECTIONS = ("task", "metrics", "monitor", "logger", "callbacks")
LATER_KEYS = ("layout", "log_every_n_steps")  # of trainer
LATER_FIELDS = ("metrics", "monitor", "foreign", "computing", "val_loss", "test_margin_loss")
EPOCH_LOG = ("epochs", "best_epoch", "images", "training_seconds", "stopped_at", "columns", "rows", "earlier_seconds")


class InterruptedInEpoch3(pl.Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt


def in_the_form_of_the_last_version(run):
    """Take from a run's checkpoints and record what version 0.1 of November 2026 did not write, and add what it did."""

    def without_later_keys(config):
        trainer = {key: value for key, value in config["trainer"].items() if key not in LATER_KEYS}
        return {key: value for key, value in config.items() if key not in LATER_SECTIONS} | {"trainer": trainer}

    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        content["capsnet_config"] = without_later_keys(content["capsnet_config"])
        content["capsnet_digest"] = "0" * 64
        if "callbacks" in content:
            state = content["callbacks"]["EpochLog"]
            best = state["rows"][state["best_epoch"] - 1]["val/accuracy"]
            content["callbacks"]["EpochLog"] = {key: state[key] for key in EPOCH_LOG} | {"best_val_accuracy": best}
        torch.save(content, path)
    record = json.loads((run / "results.json").read_text())
    record["config"] = without_later_keys(record["config"])
    (run / "results.json").write_text(
        json.dumps({key: value for key, value in record.items() if key not in LATER_FIELDS} | {"fourier": False})
    )


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    run = tmp_path_factory.mktemp("last_version")
    train(digits_config(trainer__max_epochs=4), run, callbacks=[InterruptedInEpoch3()])
    in_the_form_of_the_last_version(run)
    return run


def test_a_run_of_the_last_version_is_used_evaluated_and_continued(interrupted, tmp_path):
    train(digits_config(trainer__max_epochs=4), tmp_path)  # by this version alone
    before = read_result(interrupted)
    assert before.metrics["val/accuracy"] == read_record(interrupted)["val_accuracy"]
    assert load(interrupted).predict(torch.rand(2, 1, 28, 28)).scores.shape == (2, 10)
    assert "accuracy" in evaluate_checkpoint(interrupted / "checkpoints/best.ckpt", interrupted).report
    config, overrides = resumed(interrupted, {})
    results = train(config, interrupted, overrides, resume=True)
    assert results.metrics == read_record(tmp_path)["metrics"]
    assert (interrupted / "metrics.csv").read_bytes() == (tmp_path / "metrics.csv").read_bytes()
