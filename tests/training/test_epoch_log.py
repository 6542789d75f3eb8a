"""The line that an epoch leaves in the terminal."""

import time
from types import SimpleNamespace

from capsnet.settings.config import Monitor
from capsnet.training.callbacks import EpochLog
from capsnet.training.loggers import StepCurves


def logged_line(tmp_path, caplog, epoch: int, epochs: int, seconds: float, metrics: dict[str, float]) -> str:
    """What `EpochLog` logs after an epoch with these metrics."""
    caplog.set_level("INFO", "capsnet")
    epoch_log = EpochLog(tmp_path, Monitor("val/accuracy", lower_is_better=False), StepCurves())
    epoch_log.epoch_began, epoch_log.epoch_images = time.perf_counter() - seconds, 0
    trainer = SimpleNamespace(
        current_epoch=epoch - 1,
        max_epochs=epochs,
        should_stop=False,
        early_stopping_callback=None,
        is_last_batch=True,
        limit_val_batches=1.0 if "val/loss" in metrics else 0,
        is_global_zero=True,
        global_step=epoch,
        loggers=[],
    )
    names = list(dict.fromkeys(name.partition("/")[2] for name in metrics))
    measured = {"train": SimpleNamespace(names=names), "val": SimpleNamespace(names=names)}
    module = SimpleNamespace(finished_epoch=lambda: metrics, measurements=measured, parameters=list)
    epoch_log.on_train_epoch_end(trainer, module)
    (record,) = caplog.records
    return record.getMessage()


METRICS = {"train/loss": 0.52334, "train/accuracy": 0.37778, "val/loss": 0.3557, "val/accuracy": 0.7}


def test_tells_loss_and_accuracy_of_training_and_validation_and_the_time(tmp_path, caplog):
    line = logged_line(tmp_path, caplog, 1, 3, 0.2, METRICS)
    assert line == "epoch 1/3  train loss 0.5233, 37.78%  val loss 0.3557, 70.00%  0.2 s"


def test_is_aligned_with_those_of_later_epochs_and_leaves_out_a_validation_that_did_not_happen(tmp_path, caplog):
    metrics = {name: value for name, value in METRICS.items() if name.startswith("train")}
    line = logged_line(tmp_path, caplog, 2, 10, 75, metrics)
    assert line == "epoch  2/10  train loss 0.5233, 37.78%  1 min 15 s"


def test_fits_into_80_columns(tmp_path, caplog):
    perfect = METRICS | {"train/accuracy": 1.0, "val/accuracy": 1.0}
    assert len(logged_line(tmp_path, caplog, 100, 100, 40_000, perfect)) <= 80
