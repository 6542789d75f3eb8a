"""Claims about loggers and callbacks: what reaches them, and that nothing runs because a saved config names it."""

import math
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import DIGITS, curves_of, digits_config, record_of, run_in_process, table
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers.logger import Logger

from capsnet.errors import ConfigError, DivergedError
from capsnet.runs.saved_config import saved_config
from capsnet.settings.config import as_dict
from capsnet.settings.foreign import instantiated
from capsnet.settings.parse import config_from_dict
from capsnet.training.run import train

made: list[str] = []


class Recorder(Logger):
    """Keeps what it is given, by step."""

    def __init__(self):
        super().__init__()
        self.scalars: dict[str, dict[int, float]] = {}
        self.hyperparameters: dict[str, Any] = {}
        self.images: list[str] = []
        made.append("Recorder")

    name, version = "recorder", 0

    def log_metrics(self, metrics, step=None):
        for name, value in metrics.items():
            self.scalars.setdefault(name, {})[step] = value

    def log_hyperparams(self, params, *_, **__):
        self.hyperparameters = params

    def log_image(self, key, images, step=None):
        self.images.append(key)

    def finalize(self, status):
        self.status = status


class Watcher(pl.Callback):
    """Sees the metrics at the end of each epoch, and logs one of its own."""

    def __init__(self):
        self.seen: list[dict[str, float]] = []
        self.norms: list[float] = []
        made.append("Watcher")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        squares = [weight.grad.double().square().sum() for weight in pl_module.parameters()]
        self.norms.append(float(torch.stack(squares).sum().sqrt()))

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append({name: float(value) for name, value in trainer.callback_metrics.items()})
        pl_module.log("mine/epoch", 2.0 * trainer.current_epoch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.log("mine/step", float(trainer.global_step))


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run's folder, and what its logger and its callback got."""
    run, logger, callback = tmp_path_factory.mktemp("watched"), Recorder(), Watcher()
    config = digits_config(trainer__log_every_n_steps=2, figures=True)
    train(config, run, callbacks=[callback], loggers=[logger])
    return run, logger, callback


def test_loss_learning_rate_and_the_norm_of_all_gradients_are_logged_by_step(watched):
    run, logger, callback = watched
    steps = list(range(2, int(table(run / "metrics.csv")[-1]["step"]) + 1, 2))
    for name in ("step/loss", "step/lr", "step/gradient_norm"):
        assert list(logger.scalars[name]) == steps
        assert all(value > 0 for value in logger.scalars[name].values())
    assert list(logger.scalars["step/gradient_norm"].values()) == pytest.approx(callback.norms[1::2])


OWN = ("hparam/val_accuracy", "hparam/test_accuracy", "mine/step", "mine/epoch")


def test_every_logger_gets_the_same_scalars_as_tensorboard(watched):
    run, logger, _ = watched
    curves = curves_of(run)
    for name in ("train/loss", "val/accuracy", "lr", "epoch", "step/loss", "test/accuracy", *OWN):
        events = {event.step: event.value for event in curves.Scalars(name)}
        assert logger.scalars[name] == pytest.approx(events), name
    rows = table(run / "metrics.csv")
    assert logger.scalars["val/loss"] == {int(row["step"]): float(row["val/loss"]) for row in rows}


def test_a_logger_gets_hyperparameters_and_figures_if_it_can_take_them(watched):
    run, logger, _ = watched
    assert logger.hyperparameters["data.batch_size"] == 64
    assert "visuals/confusion" in logger.images
    assert logger.status == "success"
    assert record_of(run)["foreign"] == ["test_loggers.Watcher", "test_loggers.Recorder"]


def test_a_callback_sees_the_metrics_of_the_finished_epoch(watched):
    run, _, callback = watched
    for seen, row in zip(callback.seen, table(run / "metrics.csv"), strict=True):
        for name in ("train/loss", "val/loss", "val/accuracy", "lr"):
            assert seen[name] == pytest.approx(float(row[name]))


def test_an_epoch_that_is_not_finite_reaches_neither_the_table_nor_a_logger(tmp_path):
    class BreakAtTheEnd(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                with torch.no_grad():
                    next(pl_module.network.parameters()).fill_(math.nan)

    logger = Recorder()
    with pytest.raises(DivergedError, match="epoch 2, at its end"):
        train(digits_config(), tmp_path, callbacks=[BreakAtTheEnd()], loggers=[logger])
    assert [row["epoch"] for row in table(tmp_path / "metrics.csv")] == ["1"]
    assert list(logger.scalars["epoch"].values()) == [1]
    assert logger.status == "failed"


def test_lightnings_callbacks_work(tmp_path):
    top = ModelCheckpoint(tmp_path / "top", monitor="val/loss", save_top_k=2, filename="{epoch}")
    logger = Recorder()
    config = digits_config(trainer__max_epochs=3, trainer__log_every_n_steps=1)
    train(config, tmp_path, callbacks=[top, LearningRateMonitor()], loggers=[logger])
    assert len(list((tmp_path / "top").iterdir())) == 2
    assert "lr-Adam" in logger.scalars
    assert (tmp_path / "checkpoints/best.ckpt").exists()


SECTIONS = {
    "logger": {"tensorboard": {}, "recorder": {"_target_": "test_loggers.Recorder"}},
    "callbacks": {"watcher": {"_target_": "test_loggers.Watcher"}},
}


class TestSavedConfig:
    def test_keeps_loggers_and_callbacks_as_plain_data(self):
        assert {group: as_dict(config_from_dict(SECTIONS))[group] for group in SECTIONS} == SECTIONS

    def test_instantiates_nothing_when_a_run_is_trained_read_or_resumed(self, tmp_path):
        made.clear()
        train(config_from_dict(as_dict(digits_config()) | SECTIONS), tmp_path)
        config, _ = saved_config(tmp_path, {})
        assert config.callbacks == SECTIONS["callbacks"]
        done = run_in_process("train.py", f"resume={tmp_path}", "trainer.max_epochs=3", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "give logger=[recorder] callbacks=[watcher] again" in done.stdout
        assert made == []
        assert record_of(tmp_path)["foreign"] == []

    @pytest.mark.parametrize(
        ("sections", "message"),
        [
            ({"callbacks": {"_target_": "os.getcwd"}}, r"callbacks\._target_: its YAML file must say NAME:"),
            ({"callbacks": {"mine": {"patience": 3}}}, r"callbacks\.mine: its YAML file must say what to make"),
            ({"logger": {"tensorboard": {"depth": 3}}}, r"logger\.tensorboard\.depth: no such key"),
            ({"logger": "tensorboard"}, r"logger=tensorboard: set its keys one by one"),
        ],
    )
    def test_has_each_of_them_by_name(self, sections, message):
        with pytest.raises(ConfigError, match=message):
            config_from_dict(sections)


def test_what_is_no_callback_is_refused():
    with pytest.raises(ConfigError, match=r"callbacks=odd: builtins\.dict makes no Callback"):
        instantiated(config_from_dict({"callbacks": {"odd": {"_target_": "builtins.dict"}}}))


def test_a_yaml_file_of_your_own_adds_a_callback_also_to_a_run_that_is_resumed(tmp_path):
    (tmp_path / "mine/callbacks").mkdir(parents=True)
    (tmp_path / "mine/callbacks/watch.yaml").write_text("watch:\n  _target_: test_loggers.Watcher\n")
    chosen, folder = ("--config-dir=mine", "callbacks=[lr,watch]"), ("hydra.run.dir=run", "logger=[]")
    done = run_in_process("train.py", *DIGITS, "trainer.max_epochs=1", "callbacks=none", *folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "run")["foreign"] == []
    made.clear()
    more = ("resume=run", "trainer.max_epochs=2", "logger=csv")
    done = run_in_process("train.py", *more, *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    targets = ["pytorch_lightning.callbacks.LearningRateMonitor", "test_loggers.Watcher"]
    assert record_of(tmp_path / "run")["foreign"] == targets
    assert not list((tmp_path / "run").rglob("events.out.tfevents.*"))
    assert "mine/epoch" in (tmp_path / "run/csv/version_0/metrics.csv").read_text()
