"""How a run computes is chosen by measuring, remembered, and kept by runs that continue or repeat it."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import DIGITS, REPO, digits_config, only_run, record_of, run_in_process

from capsnet.training import choices
from capsnet.training.choices import Choice, candidates, decide, simplest_of_the_fastest
from capsnet.training.module import CapsNetModule

SHAPE, CLASSES = (1, 28, 28), 10
DIRECT, FOURIER = Choice("32-true", "off", "channels_last"), Choice("32-true", "on", "channels_last")
BF16 = Choice("bf16-mixed", "off", "channels_last")
CHOSEN_BY_MEASURING = ("trainer.precision=auto", "trainer.fourier=auto", "trainer.layout=auto")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def automatic_config(**settings):
    automatic = {f"trainer__{name}": "auto" for name in Choice._fields}
    return digits_config(**automatic | settings)


def decision(config, batch=8):
    torch.manual_seed(0)
    return decide(config, CapsNetModule(config=config, image_shape=SHAPE, num_classes=CLASSES), SHAPE, CLASSES, batch)


def test_the_same_network_is_measured_once_and_then_remembered(monkeypatch):
    first = decision(automatic_config())
    assert first.origin == "measured"
    assert set(first.ms_per_image) >= {str(first.choice)}
    monkeypatch.setattr(choices.Steps, "ms_per_image", None)  # would fail
    again = decision(automatic_config(seed=1, optimizer__lr=0.1))
    assert (again.origin, again.choice, again.ms_per_image) == ("remembered", first.choice, first.ms_per_image)


def test_another_network_another_routing_and_another_batch_are_measured_for_themselves():
    decision(automatic_config())
    for other in ({"model__conv_channels": 8}, {"routing__iters": 1}):
        assert decision(automatic_config(**other)).origin == "measured"
    assert decision(automatic_config(), batch=4).origin == "measured"


def test_processes_that_ask_at_once_wait_for_the_first(monkeypatch):
    measured = []
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda n: choices._remembered({"key": 1}, lambda: measured.append(n) or {"a": float(n)}), range(4))
        )
    assert len(measured) == 1
    assert len({json.dumps(times) for times, _ in answers}) == 1


def test_without_a_cache_folder_it_is_measured_each_time(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("not a folder")
    assert [decision(automatic_config()).origin for _ in range(2)] == ["measured", "measured"]


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({DIRECT: 10.0, FOURIER: 5.0, BF16: 12.0}, FOURIER),
        ({DIRECT: 10.0, FOURIER: 9.5, BF16: 9.1}, DIRECT),
        ({DIRECT: 10.0, FOURIER: 8.0, BF16: 7.6}, FOURIER),
        ({DIRECT: 10.0, FOURIER: 8.0, BF16: 6.0}, BF16),
        ({FOURIER: 8.0}, FOURIER),
        ({}, DIRECT),
    ],
)
def test_of_candidates_within_a_tenth_of_the_fastest_the_simplest_is_chosen(times, chosen):
    times = {str(choice): ms for choice, ms in times.items()}
    assert simplest_of_the_fastest([DIRECT, FOURIER, BF16], times) == chosen


def test_bfloat16_is_tried_where_the_processor_has_instructions_for_it(monkeypatch):
    for bf16, precisions in ((True, {"32-true", "bf16-mixed"}), (False, {"32-true"})):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda bf16=bf16: {"avx512_bf16": bf16}, raising=False)
        possible = candidates(automatic_config().trainer, fourier_saves=True)
        assert {choice.precision for choice in possible} == precisions
        assert possible[0] == DIRECT


def test_what_is_set_is_not_measured():
    assert decision(digits_config()).origin == "set"
    compiled = automatic_config(trainer__compile=True, trainer__layout="contiguous", trainer__precision="32")
    assert decision(compiled).choice == Choice("32-true", "off", "contiguous")
    assert decision(automatic_config(trainer__precision="64-true")).choice.precision == "64-true"


@pytest.mark.parametrize("chosen", ["set", "measured", "remembered"])
def test_choosing_leaves_no_trace_in_the_network_and_the_random_numbers(chosen):
    small_cnn = {"model": "small_cnn", "loss": "cross_entropy", "routing": "none"}
    config = digits_config(**small_cnn) if chosen == "set" else automatic_config(**small_cnn)
    if chosen == "remembered":
        decision(config)
    module = CapsNetModule(config=config, image_shape=SHAPE, num_classes=CLASSES)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    assert decide(config, module, SHAPE, CLASSES, 8).origin == chosen
    assert all(part.training for part in module.modules())
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.slow
def test_a_resumed_and_a_repeated_run_compute_as_the_run_began(tmp_path):
    arguments = (*DIGITS, *CHOSEN_BY_MEASURING, "trainer.max_epochs=1", "hydra.run.dir=run")
    done = run_in_process("train.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = record_of(tmp_path / "run")
    assert record["computing"]["origin"] in ("measured", "remembered")
    assert record["computing"]["ms_per_image"]
    begun = {"precision": "bf16-mixed", "fourier": "off", "layout": "contiguous"}  # as another machine may have chosen
    record["computing"] |= begun
    (tmp_path / "run/results.json").write_text(json.dumps(record))
    done = run_in_process("train.py", "rerun=run", cwd=tmp_path)
    repeated = record_of(only_run(tmp_path))
    assert repeated["computing"] == {**begun, "origin": "recorded", "ms_per_image": {}}
    done = run_in_process("train.py", "resume=run", "trainer.max_epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "run")["computing"] == repeated["computing"]
    assert record_of(tmp_path / "run")["precision"] == "bf16-mixed"


@pytest.mark.parametrize(
    ("set_already", "spin_count"), [({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_threads_do_not_spin_unless_the_environment_says_how_they_wait(set_already, spin_count):
    free = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "import train, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=free | set_already, capture_output=True, text=True, cwd=REPO, check=True
    )
    assert done.stdout.strip() == str(spin_count)
