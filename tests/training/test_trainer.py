"""The Trainer that the settings describe, and its precision."""

import pytest
from conftest import DIGITS, digits_config, only_run, record_of, run_in_process

from capsnet.errors import ConfigError
from capsnet.training import trainer as trainer_module
from capsnet.training.run import train


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
