"""Training by the library's own function, without a command line."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from capsnet.config import Config, DataConfig, ModelConfig, TrainerConfig
from capsnet.results import read_metrics
from capsnet.training import resolve_precision, train

CONFIG = Config(
    data=DataConfig(name="digits", limit=300, batch_size=64),
    model=ModelConfig(conv_channels=16, primary_capsules=4),
    trainer=TrainerConfig(accelerator="cpu", devices=1, max_epochs=2, precision="32-true", enable_progress_bar=False),
)


def trained(run_dir: Path, config: Config) -> dict[str, list[float]]:
    """The metrics of a training, by name."""
    run_dir.mkdir()
    train(config, run_dir)
    return read_metrics(run_dir / "metrics.csv")


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_training_says_what_compiling_cost_and_has_the_same_metrics_but_for_rounding(tmp_path, caplog):
    eager = trained(tmp_path / "eager", CONFIG)
    caplog.set_level("INFO", "capsnet")
    compiled = trained(tmp_path / "compiled", replace(CONFIG, trainer=replace(CONFIG.trainer, compile=True)))
    assert caplog.text.count("compiled the training step in") == 1
    for name, values in eager.items():
        assert compiled[name] == pytest.approx(values, rel=1e-3), name


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({"avx512_bf16": False}, "32-true"),
        ({}, "32-true"),
    ],
)
def test_automatic_precision_is_bfloat16_where_the_processor_multiplies_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision(TrainerConfig(accelerator="cpu")) == precision
    assert resolve_precision(TrainerConfig(accelerator="cpu", precision="64-true")) == "64-true"
