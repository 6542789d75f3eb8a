"""Training by the library's own function, without a command line."""

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from capsnet.callbacks import WholeFiles
from capsnet.checkpoint import read_checkpoint
from capsnet.config import AugmentConfig, Config, DataConfig, EarlyStoppingConfig, ModelConfig, TrainerConfig
from capsnet.errors import CheckpointError, ConfigError, DivergedError, StorageError
from capsnet.processes import share_of_threads
from capsnet.results import read_metrics, read_record
from capsnet.resume import resume_run
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


class At(pl.Callback):
    """Does something at the beginning of one step; epochs and steps count from 1."""

    def __init__(self, epoch: int, step: int, action):
        self.moment, self.action = (epoch - 1, step - 1), action

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.moment:
            self.action(pl_module)


def interrupt(module):
    raise KeyboardInterrupt


RANDOM = replace(
    CONFIG,
    model=replace(CONFIG.model, dropout=0.5),
    augment=AugmentConfig(max_shift=2, cutout_size=8),
    trainer=replace(CONFIG.trainer, max_epochs=4),
)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    train(RANDOM, run)
    return run


class TestResume:
    @pytest.mark.parametrize(("epoch", "step"), [(1, 2), (3, 1), (3, 4), (4, 5)])
    def test_an_interrupted_run_ends_with_the_metrics_of_one_that_was_not_to_the_last_digit(
        self, tmp_path, whole_run, epoch, step
    ):
        run = tmp_path / "run"
        run.mkdir()
        assert train(RANDOM, run, callbacks=[At(epoch, step, interrupt)]).status == "interrupted"
        resumed = train(RANDOM, run, resume=True)
        assert (run / "metrics.csv").read_bytes() == (whole_run / "metrics.csv").read_bytes()
        expected = read_record(whole_run)
        for name in ("status", "epochs", "best_epoch", "val_accuracy", "test_accuracy", "test_loss"):
            assert getattr(resumed, name) == expected[name], name

    def test_what_was_written_after_the_last_checkpoint_is_done_again(self, tmp_path, whole_run):
        run = tmp_path / "run"
        run.mkdir()
        train(RANDOM, run, callbacks=[At(3, 1, interrupt)])
        with (run / "metrics.csv").open("a") as file:
            file.write("3,15,0.1,0,0,0,0,0,0,0,0\n4,20,0.")  # as if killed while it wrote
        train(RANDOM, run, resume=True)
        assert (run / "metrics.csv").read_bytes() == (whole_run / "metrics.csv").read_bytes()

    def test_a_run_goes_on_where_its_folder_was_moved_to_and_knows_its_best_epoch(self, tmp_path, whole_run):
        (tmp_path / "before").mkdir()
        train(RANDOM, tmp_path / "before", callbacks=[At(4, 1, interrupt)])
        (tmp_path / "before").rename(tmp_path / "after")
        assert train(RANDOM, tmp_path / "after", resume=True).best_epoch == read_record(whole_run)["best_epoch"]

    def test_more_epochs_may_be_asked_for(self, tmp_path, whole_run):
        run = tmp_path / "run"
        run.mkdir()
        fewer = replace(RANDOM, trainer=replace(RANDOM.trainer, max_epochs=2))
        train(fewer, run)
        train(RANDOM, run, resume=True)
        assert (run / "metrics.csv").read_bytes() == (whole_run / "metrics.csv").read_bytes()

    def test_a_training_that_early_stopping_has_ended_is_not_trained_on(self, tmp_path):
        stops = replace(RANDOM, early_stopping=EarlyStoppingConfig(patience=1, min_delta=1.0))
        assert train(stops, tmp_path).epochs == 2
        metrics = (tmp_path / "metrics.csv").read_bytes()
        resumed = train(stops, tmp_path, resume=True)  # as after a kill in its final test
        assert (resumed.status, resumed.epochs) == ("completed", 2)
        assert (tmp_path / "metrics.csv").read_bytes() == metrics

    def test_a_complete_run_is_not_repeated(self, whole_run):
        with pytest.raises(CheckpointError, match="is complete after 4 epochs"):
            resume_run(whole_run, {"trainer.devices": "1"})

    def test_what_is_trained_cannot_change(self, whole_run):
        with pytest.raises(ConfigError, match=r"optimizer\.lr: cannot change"):
            resume_run(whole_run, {"optimizer.lr": "0.1", "trainer.max_epochs": "9"})

    def test_tensorboard_shows_each_epoch_once(self, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        train(RANDOM, run, callbacks=[At(3, 1, interrupt)])
        train(RANDOM, run, resume=True)
        events = EventAccumulator(str(run)).Reload()
        assert [event.step for event in events.Scalars("val/accuracy")] == [1, 2, 3, 4]

    def test_a_damaged_checkpoint_is_named(self, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        train(RANDOM, run, callbacks=[At(2, 1, interrupt)])
        checkpoint = run / "checkpoints" / "last.ckpt"
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged"):
            train(RANDOM, run, resume=True)


def test_a_loss_that_is_no_number_ends_the_run_at_once_and_keeps_the_checkpoint_of_the_epoch_before(tmp_path):
    def break_weights(module):
        with torch.no_grad():
            module.network.conv.weight.fill_(math.nan)

    with pytest.raises(DivergedError, match="epoch 2, step 3 of 5"):
        train(RANDOM, tmp_path, callbacks=[At(2, 3, break_weights)])
    record = read_record(tmp_path)
    assert (record["status"], record["epochs"]) == ("diverged", 1)
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 0


@pytest.mark.parametrize(
    ("setting", "named"), [({"num_nodes": 2}, "torchrun or SLURM"), ({"strategy": "ddp_spawn"}, "say ddp")]
)
def test_processes_that_the_runner_cannot_start_are_refused(tmp_path, setting, named):
    with pytest.raises(ConfigError, match=named):
        train(replace(CONFIG, trainer=replace(CONFIG.trainer, **setting)), tmp_path)


def test_validation_before_training_changes_nothing(tmp_path):
    checked = replace(CONFIG, trainer=replace(CONFIG.trainer, num_sanity_val_steps=2))
    assert trained(tmp_path / "a", checked) == trained(tmp_path / "b", CONFIG)


def test_processes_share_the_processor_and_give_it_back(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        with share_of_threads(2):
            assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (4, "4")
        assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == (8, None)
    finally:
        torch.set_num_threads(before)


class TestWholeFiles:
    def test_a_save_that_fails_leaves_the_checkpoint_before_it_and_nothing_else(self, tmp_path, monkeypatch):
        path = tmp_path / "checkpoints" / "last.ckpt"
        WholeFiles().save_checkpoint({"epoch": 1}, path)

        def full(content, file):
            file.write(b"half of it")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(StorageError, match=r"last\.ckpt is that of the epoch before.*No space left"):
            WholeFiles().save_checkpoint({"epoch": 2}, path)
        assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
        assert read_checkpoint(path) == {"epoch": 1}

    def test_ctrl_c_while_saving_is_ctrl_c(self, tmp_path, monkeypatch):
        def interrupted(content, file):
            try:
                raise KeyboardInterrupt
            finally:
                raise RuntimeError("unexpected pos")  # what torch says when its writer is interrupted

        monkeypatch.setattr(torch, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            WholeFiles().save_checkpoint({}, tmp_path / "last.ckpt")


class Initial(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        self.weights = {name: value.clone() for name, value in pl_module.network.state_dict().items()}


def test_the_initial_weights_depend_on_the_seed_and_on_neither_batches_nor_augmentation_nor_dropout(tmp_path):
    once = replace(CONFIG, trainer=replace(CONFIG.trainer, max_epochs=1, limit_train_batches=1))
    others = (
        replace(once, data=replace(once.data, batch_size=7)),
        replace(once, augment=AugmentConfig(max_shift=2, cutout_size=8), model=replace(once.model, dropout=0.5)),
        replace(once, seed=1),
    )
    found = []
    for number, config in enumerate((once, *others)):
        (tmp_path / str(number)).mkdir()
        train(config, tmp_path / str(number), callbacks=[initial := Initial()])
        found.append(initial.weights)
    first, *same, another = found
    assert all(torch.equal(first[name], weights[name]) for weights in same for name in first)
    assert not torch.equal(first["classes.weight"], another["classes.weight"])


def test_a_process_that_is_told_to_exit_leaves_an_interrupted_run_that_goes_on(tmp_path):
    class Told(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise SystemExit(255)  # as submitit does in a signal's handler, once SLURM has requeued the job

    (tmp_path / "run").mkdir()
    assert train(CONFIG, tmp_path / "run", callbacks=[Told()]).status == "interrupted"
    record = read_record(tmp_path / "run")
    assert (record["status"], record["epochs"]) == ("interrupted", 1)
    assert train(CONFIG, tmp_path / "run", resume=True).status == "completed"
    assert read_metrics(tmp_path / "run/metrics.csv") == trained(tmp_path / "whole", CONFIG)
