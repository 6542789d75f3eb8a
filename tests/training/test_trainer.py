"""The Trainer that the settings describe, and its precision."""

import pytest
from conftest import DIGITS, digits_config, only_run, record_of, run_in_process

from capsnet.errors import ConfigError
from capsnet.lightning import KMNISTDataModule
from capsnet.settings.parse import config_from_dict
from capsnet.training import trainer as trainer_module
from capsnet.training.run import train
from capsnet.training.trainer import refuse_foreign_norms, refuse_long_interval


def test_early_stopping_without_validation_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"needs validation, but trainer\.limit_val_batches=0"):
        train(digits_config(early_stopping__patience=3, trainer__limit_val_batches=0), tmp_path)


@pytest.mark.parametrize("gains", [True, False])
def test_bfloat16_where_the_processor_is_slower_in_it_is_warned_of_in_one_line(tmp_path, monkeypatch, gains):
    monkeypatch.setattr(trainer_module, "has_bfloat16", lambda: gains)
    arguments = ("trainer.precision=bf16-mixed", "trainer.fast_dev_run=true")
    done = run_in_process("train.py", *DIGITS, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if "bfloat16" in line]
    assert len(warnings) == (0 if gains else 1)
    assert all(line.startswith("trainer.precision=bf16-mixed: ") for line in warnings)
    assert record_of(only_run(tmp_path))["precision"] == "bf16-mixed"


def test_early_stopping_goes_by_validation(tmp_path):
    with pytest.raises(ConfigError, match="goes by validation, but monitor=train/loss"):
        train(digits_config(early_stopping__patience=3, monitor="train/loss"), tmp_path)


def test_only_torchs_own_normalizations_are_synchronized():
    refuse_foreign_norms(config_from_dict({"model": {"name": "resnet18"}}).model.build((1, 28, 28), 3, None))
    config = config_from_dict({"model": {"name": "efficient_capsnet"}})
    with pytest.raises(ConfigError, match=r"trainer.sync_batchnorm=true: this network's own"):
        refuse_foreign_norms(config.model.build((1, 28, 28), 3, config.routing))


def test_an_interval_of_validation_is_compared_with_the_batches_that_there_are():
    pairs = config_from_dict({"data": {"name": "digits"}, "task": {"name": "overlap", "pairs_per_image": 2}})
    data = KMNISTDataModule(config=pairs)
    data.setup("fit")
    batches = len(data.train_dataloader())
    pairs.trainer.val_check_interval = batches
    refuse_long_interval(pairs, batches)
    pairs.trainer.val_check_interval = batches + 1
    with pytest.raises(ConfigError, match=f"an epoch has only {batches} batches"):
        refuse_long_interval(pairs, batches)
    pairs.data.batch_size = data.batch_size = data.dataset.counts["train"] + 1  # there are twice as many pairs
    data.setup("fit")
