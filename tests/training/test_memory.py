"""Claims about memory: what a training needs is said before it begins, and too little of it ends in one line."""

import pytest
import pytorch_lightning as pl
import torch
from conftest import digits_config

from capsnet.errors import TooLittleMemoryError
from capsnet.runs.checkpoints import build_network
from capsnet.runs.record import read_record
from capsnet.settings.config import OPTIONS
from capsnet.settings.parse import config_from_dict
from capsnet.training.memory import Need, available_memory, memory_line, memory_need, refuse_too_large
from capsnet.training.run import train


@pytest.mark.parametrize("name", OPTIONS["model"])
def test_the_need_of_every_network_is_known_and_grows_with_the_batch_and_nothing_changes(name):
    config = config_from_dict({}, {"model": name})
    network = build_network(config, (1, 28, 28), 10)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    small, large = (memory_need(network, (1, 28, 28), size, images=1000) for size in (8, 64))
    assert small.weights == large.weights == 16 * sum(weight.numel() for weight in network.parameters())
    assert large.batch == 8 * small.batch > 1000
    assert small.images == 784_000
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    refuse_too_large(config, (1, 28, 28), 10, available=large.weights)


def test_a_network_whose_weights_do_not_fit_is_refused_before_it_is_built():
    config = config_from_dict({"model": {"name": "small_capsnet", "decoder": "dense"}})
    with pytest.raises(TooLittleMemoryError, match=r"need 1[2-9].\d GB of memory, but 8.0 GB are free: set data.batch"):
        refuse_too_large(config, (3, 512, 512), 10, available=8e9)
    refuse_too_large(config, (3, 512, 512), 10, available=None)
    assert "may be too little" in memory_line(Need(9_000_000_000, 1, 1), 8e9, on_cpu=True)
    assert 1e7 < available_memory(on_cpu=True) < 1e14


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to"), MemoryError(), None])
def test_memory_that_runs_out_ends_in_one_line_and_is_recorded(tmp_path, error, caplog):
    class Greedy(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if error is not None:
                raise error
            torch.empty(10**15)

    caplog.set_level("INFO", "capsnet")
    with pytest.raises(TooLittleMemoryError, match=r"^there is too little memory for this training: set") as caught:
        train(digits_config(), tmp_path, callbacks=[Greedy()])
    assert read_record(tmp_path)["status"] == "failed"
    assert read_record(tmp_path)["reason"] == str(caught.value)
    assert "memory    about" in caplog.text


def test_a_training_that_ends_near_chance_says_so_and_a_good_one_does_not(tmp_path, caplog):
    caplog.set_level("INFO", "capsnet")
    for name, rate in (("none", 1e-9), ("good", 0.004)):
        (tmp_path / name).mkdir()
        caplog.clear()
        train(digits_config(optimizer__lr=rate, trainer__max_epochs=1 if name == "none" else 6), tmp_path / name)
        assert ("does not show that the network has learned anything" in caplog.text) == (name == "none")


def test_a_learning_rate_that_is_gone_before_the_end_is_said_and_a_cosine_follows_the_length():
    adam = config_from_dict({}).optimizer
    assert (adam.lr_decay, adam.warmup_epochs) == (0.8, 1)
    assert adam.note(20) is None
    assert "After epoch 32 of 200" in adam.note(200)
    assert config_from_dict({}, {"optimizer.schedule": "cosine"}).optimizer.note(200) is None
    assert config_from_dict({}, {"data": "folder", "data.root": "x"}).optimizer.schedule == "cosine"
