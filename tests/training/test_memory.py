"""Claims about memory: what a training needs is said before it begins, and too little of it ends in one line."""

import pytest
import pytorch_lightning as pl
import torch
from conftest import digits_config

from capsnet.errors import TooLittleMemoryError
from capsnet.runs.record import read_record
from capsnet.settings.config import OPTIONS
from capsnet.settings.parse import config_from_dict
from capsnet.training.memory import available_memory, memory_line, memory_need, refuse_too_large
from capsnet.training.run import train


@pytest.mark.parametrize("name", OPTIONS["model"])
def test_the_need_of_every_network_is_known_without_memory_and_grows_with_the_batch(name):
    small, large = (config_from_dict({}, {"model": name, "data.batch_size": str(size)}) for size in (8, 64))
    small, large = (memory_need(config, (1, 28, 28), 10, images=1000) for config in (small, large))
    assert small is not None
    assert small.weights == large.weights > 16 * 100_000
    assert large.batch == pytest.approx(8 * small.batch)


def test_weights_gradients_and_means_are_counted():
    need = memory_need(config_from_dict({}), (1, 28, 28), 10, images=1000)
    assert need.weights == 4 * 4 * 8_215_568
    assert need.images == 784_000


def test_a_network_whose_weights_do_not_fit_is_refused_before_it_is_built():
    config = config_from_dict({"model": {"name": "small_capsnet", "decoder": "dense"}})
    need = memory_need(config, (3, 512, 512), 10, images=100)
    assert need.weights > 12e9
    with pytest.raises(TooLittleMemoryError, match=r"needs about 1[2-9].* but 8.0 GB are free: set data.batch_size"):
        refuse_too_large(need, 8e9)
    refuse_too_large(need, None)
    assert "may be too little" in memory_line(need, 10e9, on_cpu=True)
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
        assert ("has learned nothing that holds for other images" in caplog.text) == (name == "none")


def test_a_learning_rate_that_is_gone_before_the_end_is_said_and_a_cosine_follows_the_length():
    adam = config_from_dict({}).optimizer
    assert adam.note(20) is None
    assert "After epoch 31 of 200" in adam.note(200)
    assert config_from_dict({}, {"optimizer.schedule": "cosine"}).optimizer.note(200) is None
    assert config_from_dict({}, {"data": "folder", "data.root": "x"}).optimizer.schedule == "cosine"
