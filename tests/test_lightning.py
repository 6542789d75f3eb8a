"""What Lightning's users do with the network and the images: their own Trainer, loggers, callbacks and loaders."""

import csv

import pytest
import pytorch_lightning as pl
import torch
from conftest import DIGITS, only_run, run_in_process, table
from pytorch_lightning.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, ModelSummary
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.tuner import Tuner
from torch.utils.data import DataLoader, TensorDataset

import capsnet
from capsnet.errors import ConfigError
from capsnet.lightning import CapsNetModule, KMNISTDataModule

NETWORK = ("model.conv_channels=4", "model.primary_capsules=2", "trainer.precision=32-true", "trainer.fourier=off")
SETTINGS = tuple(setting for setting in DIGITS if setting != "trainer=cpu")


def trainer(folder, epochs=2, **more):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, default_root_dir=folder, **quiet | more)


def loader(images, labels):
    return DataLoader(TensorDataset(images, labels), batch_size=16)


@pytest.fixture
def pairs():
    """64 images of noise, [64, 1, 28, 28] in [0, 1], and their labels."""
    return torch.rand(64, 1, 28, 28), torch.arange(64) % 10


def test_the_command_line_python_and_ones_own_trainer_reach_the_same_loss_after_each_epoch(tmp_path, monkeypatch):
    by_command, by_function, by_trainer = (tmp_path / name for name in ("command", "function", "trainer"))
    for folder in (by_command, by_function, by_trainer):
        folder.mkdir()
    epochs = "trainer.max_epochs=2"
    assert run_in_process("train.py", *DIGITS, epochs, cwd=by_command).returncode == 0
    monkeypatch.chdir(by_function)
    run = capsnet.train(*DIGITS, epochs)
    expected = (only_run(by_command) / "metrics.csv").read_bytes()
    assert (run.folder / "metrics.csv").read_bytes() == expected
    logger = CSVLogger(by_trainer)
    own = trainer(by_trainer, logger=logger)
    own.fit(CapsNetModule(*SETTINGS), KMNISTDataModule(*SETTINGS))
    with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("train/loss", "val/loss", "val/accuracy"):
        found = [float(row[name]) for row in rows if row.get(name)]
        assert found == pytest.approx([float(row[name]) for row in table(run.folder / "metrics.csv")], rel=1e-6)


def test_a_new_convolutional_decoder_begins_with_the_mean_of_the_images_and_a_trained_one_goes_on(tmp_path):
    settings = ("data=digits", "data.limit=200", "model=res_capsnet", "model.width=4", "model.decoder=light")
    module, data = CapsNetModule(*settings), KMNISTDataModule(*settings)
    own = trainer(tmp_path, epochs=1, limit_train_batches=0, limit_val_batches=0)
    own.fit(module, data)
    mean = float((data.dataset.train_split.images.double() / 255).mean())
    output = module.network.eval()(torch.rand(3, 1, 28, 28))
    torch.testing.assert_close(output.reconstruction, torch.full_like(output.reconstruction, mean))
    trainer(tmp_path, epochs=1).fit(module, data)
    trained = module.network.decoder[-2].weight.clone()
    trainer(tmp_path, epochs=1, limit_train_batches=0, limit_val_batches=0).fit(module, data)
    assert torch.equal(module.network.decoder[-2].weight, trained)


def test_normalization_comes_from_the_data_module_once_and_is_saved(tmp_path):
    settings = (*SETTINGS, "data.normalize=channels")
    module, data = CapsNetModule(*settings), KMNISTDataModule(*settings)
    own = trainer(tmp_path, epochs=1)
    own.fit(module, data)
    pixels = data.dataset.train_split.images.double() / 255
    center, spread = module.network.conv.input_center, module.network.conv.input_spread
    assert float(center) == pytest.approx(float(pixels.mean()), rel=1e-5)
    assert float(spread) == pytest.approx(float(pixels.std(correction=0)), rel=1e-5)
    own.save_checkpoint(tmp_path / "one.ckpt")
    loaded = CapsNetModule.load_from_checkpoint(tmp_path / "one.ckpt")
    assert torch.equal(loaded.network.conv.input_center, center)
    center.fill_(0.25)  # of other images, say
    trainer(tmp_path, epochs=1).fit(module, data)
    assert float(center) == 0.25


def test_fit_validate_test_predict_and_load(tmp_path):
    module, data = CapsNetModule(*SETTINGS), KMNISTDataModule(*SETTINGS)
    best = ModelCheckpoint(tmp_path, monitor="val/accuracy", mode="max")
    callbacks = [best, EarlyStopping("val/loss"), ModelSummary(), LearningRateMonitor()]
    own = trainer(tmp_path, epochs=1, logger=CSVLogger(tmp_path), callbacks=callbacks)
    own.fit(module, data)
    (validated,), (tested,) = own.validate(module, data, verbose=False), own.test(module, data, verbose=False)
    assert validated["val/accuracy"] == float(best.best_model_score)
    assert 0 < tested["test/accuracy"] <= 1
    labels = torch.cat(own.predict(module, data))
    assert float((labels == data.dataset.test_split.labels).float().mean()) == pytest.approx(tested["test/accuracy"])
    loaded = CapsNetModule.load_from_checkpoint(best.best_model_path)
    assert (loaded.image_shape, loaded.class_names) == (module.image_shape, data.dataset.class_names)
    for name, weight in module.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], weight), name
    images = data.dataset.test_split.images
    assert torch.equal(capsnet.load(best.best_model_path).predict(images).labels, labels)  # without Lightning


def test_any_loader_of_images_and_labels_works_and_nothing_is_seeded(tmp_path, pairs):
    images, labels = pairs
    before = torch.get_rng_state()
    module = CapsNetModule(*NETWORK)
    assert torch.equal(torch.get_rng_state(), before)
    own = trainer(tmp_path, epochs=1)
    own.fit(module, loader(images, labels), loader((images * 255).byte(), labels))
    model = capsnet.load(own.checkpoint_callback.best_model_path)
    assert model.class_names == tuple("0123456789")
    assert not torch.equal(module.network.conv.weight, CapsNetModule(*NETWORK).network.conv.weight)


def test_a_training_that_is_resumed_by_ckpt_path_ends_like_one_that_was_not_interrupted(tmp_path):
    ends = []
    for stops in ((2,), (1, 2)):
        path = None
        for epochs in stops:
            module = CapsNetModule(*SETTINGS)
            own = trainer(tmp_path / str(stops), epochs=epochs)
            own.fit(module, KMNISTDataModule(*SETTINGS), ckpt_path=path, weights_only=True)
            path = own.checkpoint_callback.best_model_path
        ends.append(module.network.state_dict())
    for name, weight in ends[0].items():
        assert torch.equal(weight, ends[1][name]), name


def test_the_tuner_finds_and_sets_the_learning_rate(tmp_path):
    module = CapsNetModule(*SETTINGS)
    Tuner(trainer(tmp_path)).lr_find(
        module, KMNISTDataModule(*SETTINGS), num_training=30, min_lr=1e-5, max_lr=0.01, early_stop_threshold=None
    )
    assert module.lr == module.config.optimizer.lr != capsnet.compose(*SETTINGS).optimizer.lr


def test_images_that_the_network_was_not_built_for_are_refused(tmp_path):
    data = KMNISTDataModule(*SETTINGS)
    with pytest.raises(ConfigError, match="give CapsNetModule image_shape= and num_classes="):
        trainer(tmp_path).fit(CapsNetModule(*NETWORK, num_classes=12), data)


def test_schedules_by_step_use_the_steps_of_ones_own_trainer(tmp_path, pairs):
    module = CapsNetModule(*NETWORK, "optimizer.schedule=one_cycle", "optimizer.warmup_epochs=0")
    own = trainer(tmp_path, epochs=2, enable_checkpointing=False)
    own.fit(module, loader(*pairs))
    assert own.global_step == 8
    weight = torch.nn.Parameter(torch.ones(1))
    wanted = torch.optim.Adam([weight])
    cycle = torch.optim.lr_scheduler.OneCycleLR(wanted, module.lr, total_steps=8, cycle_momentum=False)
    for _ in range(7):
        wanted.step()
        cycle.step()
    schedule = module.config.optimizer
    assert schedule.lr * schedule._share_of_lr(7, 4, 8) == pytest.approx(cycle.get_last_lr()[0])


def test_a_trainer_that_ends_by_the_clock_takes_the_schedule_of_the_settings(tmp_path):
    module = CapsNetModule(*SETTINGS, "trainer.max_epochs=7")
    own = trainer(tmp_path, epochs=-1, max_time={"seconds": 1}, enable_checkpointing=False)
    own.fit(module, KMNISTDataModule(*SETTINGS))
    assert module._steps == 7 * own.num_training_batches


def test_classes_cannot_be_balanced_without_their_counts(tmp_path, pairs):
    module = CapsNetModule(*NETWORK, "data.class_weights=balanced")
    with pytest.raises(ConfigError, match="give CapsNetModule class_counts="):
        trainer(tmp_path).fit(module, loader(*pairs))


def test_a_loader_may_give_extras_as_well():
    module = CapsNetModule("model=small_capsnet")
    seen = []
    module.loss = lambda output, targets, progress: seen.append(targets) or {"loss": output.scores.mean()}
    module.training_step((torch.rand(4, 1, 28, 28), torch.arange(4), {"pose": torch.ones(4)}), 0)
    assert torch.equal(seen[0].extras["pose"], torch.ones(4))
    with pytest.raises(ConfigError, match="one dictionary"):
        module.training_step((torch.rand(4, 1, 28, 28), torch.arange(4), torch.ones(4)), 0)
