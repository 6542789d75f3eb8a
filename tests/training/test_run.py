"""Training by the library's own function, without a command line."""

import math
import shutil

import pytest
import pytorch_lightning as pl
import torch
from conftest import curves_of, digits_config, make_folder_of_digits
from torch.nn import functional as F

from capsnet import CapsNet, Output, compose
from capsnet.errors import ConfigError, DivergedError
from capsnet.files import read_json
from capsnet.runs.checkpoints import read_checkpoint
from capsnet.runs.metrics import read_metrics
from capsnet.runs.record import read_record
from capsnet.settings.config import Config
from capsnet.training.datamodule import KMNISTDataModule
from capsnet.training.module import CapsNetModule
from capsnet.training.run import train


def trained(run_dir, config: Config) -> dict[str, list[float]]:
    """The metrics of a training, by name."""
    run_dir.mkdir()
    train(config, run_dir)
    return read_metrics(run_dir / "metrics.csv")


def test_a_short_training_on_kuzushiji_is_as_good_as_ever(tmp_path):
    settings = {"data": "kmnist_7k", "data__limit": 2000, "data__batch_size": 32, "optimizer__lr": 0.002}
    network = {"model": "small_capsnet", "model__conv_channels": 32, "trainer__fourier": "on"}
    metrics = train(digits_config(**settings, **network), tmp_path).metrics
    # Seed 0 has 0.750, seeds 1 to 3 have 0.732, 0.723 and 0.724: the margin is four standard deviations.
    assert metrics["test/accuracy"] > 0.70


def test_a_short_demo_is_as_good_as_ever(tmp_path):
    shorter = ("data.limit=2000", "trainer.max_epochs=3", "trainer.precision=32-true", "figures=false")
    metrics = train(compose("experiment=demo", *shorter), tmp_path).metrics
    # Seeds 0 to 2 have 0.755, 0.763 and 0.755.
    assert metrics["test/accuracy"] > 0.70


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_training_says_what_compiling_cost_and_has_the_same_metrics_but_for_rounding(tmp_path, caplog):
    eager = trained(tmp_path / "eager", digits_config())
    caplog.set_level("INFO", "capsnet")
    compiled = trained(tmp_path / "compiled", digits_config(trainer__compile=True))
    assert caplog.text.count("compiled the training step in") == 1
    for name, values in eager.items():
        assert compiled[name] == pytest.approx(values, rel=1e-3), name


def test_a_loss_that_is_not_finite_ends_the_run_at_once_and_keeps_the_checkpoint_of_the_epoch_before(tmp_path):
    class BreakWeights(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (1, 2):
                with torch.no_grad():
                    pl_module.network.conv.weight.fill_(math.nan)

    with pytest.raises(DivergedError, match="epoch 2, step 3 of 5"):
        train(digits_config(), tmp_path, callbacks=[BreakWeights()])
    record = read_record(tmp_path)
    assert (record["status"], record["epochs"]) == ("diverged", 1)
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 0
    assert "epoch 2, step 3 of 5" in (tmp_path / "train.log").read_text().splitlines()[-1]
    (point,) = curves_of(tmp_path).Scalars("step/loss")
    assert point.step == 5  # an epoch is shorter than the interval of 10 steps


@pytest.mark.parametrize(
    ("forward", "error"),
    [
        (lambda network, images, labels=None: images.scores, AttributeError),
        (lambda network, images, labels=None: Output(torch.zeros(len(images), 16)), ConfigError),
        (lambda network, images, labels=None: Output(torch.zeros(len(images), 10), torch.zeros(9, 9, 9)), ConfigError),
    ],
)
def test_a_network_that_fails_or_gives_another_shape_leaves_a_record_that_says_so(
    tmp_path, monkeypatch, forward, error
):
    monkeypatch.setattr(CapsNet, "forward", forward)
    with pytest.raises(error) as raised:
        train(digits_config(), tmp_path)
    record = read_record(tmp_path)
    assert record["status"] == "failed"
    assert str(raised.value) in record["reason"]
    if error is ConfigError:
        assert str(raised.value).startswith("model=capsnet, routing=dynamic: gives ")


def test_processes_that_the_runner_cannot_start_are_refused(tmp_path):
    for setting, named in (({"num_nodes": 2}, "torchrun or SLURM"), ({"strategy": "ddp_spawn"}, "use ddp")):
        config = digits_config(**{f"trainer__{name}": value for name, value in setting.items()})
        with pytest.raises(ConfigError, match=named):
            train(config, tmp_path)


def test_validation_before_training_changes_nothing(tmp_path):
    checked = digits_config(trainer__num_sanity_val_steps=2)
    assert trained(tmp_path / "a", checked) == trained(tmp_path / "b", digits_config())


class InitialWeights(pl.Callback):
    def on_fit_start(self, trainer, pl_module):
        self.weights = {name: value.clone() for name, value in pl_module.network.state_dict().items()}


def test_the_initial_weights_depend_on_the_seed_and_on_neither_batches_nor_augmentation_nor_dropout(tmp_path):
    once = {"trainer__max_epochs": 1, "trainer__limit_train_batches": 1}
    others = (
        {"data__batch_size": 7},
        {"augment__max_shift": 2, "augment__cutout_size": 8, "model__dropout": 0.5},
        {"seed": 1},
    )
    weights_of = []
    for number, settings in enumerate(({}, *others)):
        (tmp_path / str(number)).mkdir()
        train(digits_config(**once, **settings), tmp_path / str(number), callbacks=[initial := InitialWeights()])
        weights_of.append(initial.weights)
    first, *same, another = weights_of
    assert all(torch.equal(first[name], weights[name]) for weights in same for name in first)
    differing = [name for name in first if not torch.equal(first[name], another[name])]
    assert "conv.weight" in differing
    assert any("routing" in name for name in differing)


class TestMixup:
    def test_the_training_loss_is_that_of_mixtures_and_validation_is_as_always(self, tmp_path):
        once = {"trainer__max_epochs": 1, "optimizer__lr": 1e-12}
        plain = trained(tmp_path / "plain", digits_config(**once))
        mixed = trained(tmp_path / "mixed", digits_config(**once, augment__mixup=1.0))
        assert mixed["val/loss"] == pytest.approx(plain["val/loss"])
        assert mixed["train/loss"] != pytest.approx(plain["train/loss"])

    @pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
    def test_a_network_learns_from_mixtures(self, tmp_path, loss):
        metrics = trained(tmp_path / "run", digits_config(augment__mixup=0.4, loss=loss, data__limit=600))
        assert metrics["train/loss"][1] < metrics["train/loss"][0]
        assert metrics["val/accuracy"][1] > 0.3

    @pytest.mark.parametrize(("loss", "precision"), [("margin", "bf16-mixed"), ("cross_entropy", "64-true")])
    def test_mixtures_averaged_and_class_weights_work_in_every_precision(self, tmp_path, loss, precision):
        settings = {"augment__mixup": 0.4, "trainer__average_weights": 0.5, "data__class_weights": "balanced"}
        settings |= {"data__limit": 100, "data__batch_size": 30, "trainer__precision": precision, "loss": loss}
        metrics = trained(tmp_path / "run", digits_config(**settings))
        assert all(map(math.isfinite, metrics["val/loss"]))

    @pytest.mark.parametrize(
        "loss",
        [
            lambda output, images, labels: {"loss": output.scores[range(len(labels)), labels].mean()},
            lambda output, images, labels: {"loss": F.cross_entropy(output.scores, labels.long().flatten()[:2])},
        ],
        ids=["an error", "another value"],
    )
    def test_a_loss_that_takes_no_probabilities_is_refused(self, tmp_path, monkeypatch, loss):
        config = digits_config(augment__mixup=0.4)
        monkeypatch.setattr(type(config.loss), "build", lambda self: loss)
        message = r"augment.mixup=0.4: loss=margin cannot take class probabilities as labels"
        with pytest.raises(ConfigError, match=message):
            train(config, tmp_path)

    def test_a_network_that_takes_no_probabilities_is_refused(self, tmp_path, monkeypatch):
        config = digits_config(augment__mixup=0.4)
        one_hot = lambda capsules, labels: (capsules * F.one_hot(labels, 10).unsqueeze(-1)).flatten(1)  # noqa: E731
        monkeypatch.setattr("capsnet.networks.decoder.masked", one_hot)
        with pytest.raises(ConfigError, match=r"augment.mixup=0.4: model=capsnet cannot take class probabilities"):
            train(config, tmp_path)


def test_a_process_that_is_told_to_exit_leaves_an_interrupted_run_that_can_continue(tmp_path):
    class Told(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise SystemExit(255)  # as submitit does in a signal's handler, once SLURM has requeued the job

    (tmp_path / "run").mkdir()
    assert train(digits_config(), tmp_path / "run", callbacks=[Told()]).status == "interrupted"
    record = read_record(tmp_path / "run")
    assert (record["status"], record["epochs"]) == ("interrupted", 1)
    assert train(digits_config(), tmp_path / "run", resume=True).status == "completed"
    assert read_metrics(tmp_path / "run/metrics.csv") == trained(tmp_path / "whole", digits_config())


class TestUnbalancedClasses:
    @pytest.fixture
    def unbalanced(self, tmp_path):
        """A folder of digits, 40 zeros and 8 ones for training, 10 of each for the test."""
        make_folder_of_digits(tmp_path / "digits", {"train": 40, "test": 10}, classes=2)
        for number in range(8, 40):
            (tmp_path / f"digits/train/one/{number}.png").unlink()
        settings = {"data": "folder", "data.root": str(tmp_path / "digits"), "data.batch_size": 7, "data.limit": None}
        return {key.replace(".", "__"): value for key, value in settings.items()} | {"data__val_size": 12}

    def test_the_mean_over_the_classes_is_logged_and_recorded(self, unbalanced, tmp_path, caplog):
        caplog.set_level("INFO", "capsnet")
        metrics = trained(tmp_path / "run", digits_config(**unbalanced, trainer__max_epochs=1))
        assert "(balanced_accuracy " in caplog.text
        zeros, ones = 10, 2  # validation images
        right = metrics["val/accuracy"][0] * (zeros + ones)
        pairs = [(z, o) for z in range(zeros + 1) for o in range(ones + 1) if z + o == round(right)]
        possible = [(z / zeros + o / ones) / 2 for z, o in pairs]
        assert any(metrics["val/balanced_accuracy"][0] == pytest.approx(value) for value in possible)
        record = read_record(tmp_path / "run")
        report = read_json(tmp_path / "run" / "evaluation.json")
        assert record["test_balanced_accuracy"] == report["balanced_accuracy"]

    def test_class_weights_change_the_training_loss_alone(self, unbalanced, tmp_path):
        once = {**unbalanced, "trainer__max_epochs": 1, "optimizer__lr": 1e-12}
        plain = trained(tmp_path / "plain", digits_config(**once))
        balanced = trained(tmp_path / "balanced", digits_config(**once, data__class_weights="balanced"))
        assert balanced["val/loss"] == pytest.approx(plain["val/loss"])
        assert balanced["train/loss"] != pytest.approx(plain["train/loss"])

    def test_a_loss_that_takes_no_weights_is_refused(self, unbalanced, tmp_path, monkeypatch):
        config = digits_config(**unbalanced, data__class_weights="balanced")
        monkeypatch.setattr(type(config.loss), "build", lambda self: lambda output, images, labels: {})
        with pytest.raises(ConfigError, match="loss=margin does not take weights"):
            train(config, tmp_path)


def test_lightnings_own_test_measures_what_the_runs_own_test_does(tmp_path):
    config = digits_config()
    results = train(config, tmp_path)
    data, module = KMNISTDataModule(config=config), CapsNetModule(config=config)
    module.load_state_dict(read_checkpoint(tmp_path / "checkpoints/best.ckpt")["state_dict"])
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (measured,) = trainer.test(module, data, verbose=False)
    assert measured == pytest.approx({name: results.metrics[name] for name in measured}, rel=1e-5)
    assert {"test/loss", "test/accuracy"} <= measured.keys()
    answers = torch.cat(trainer.predict(module, data.test_dataloader()))
    right = (answers == data.dataset.test_split.labels).double().mean()
    assert float(right) == pytest.approx(results.metrics["test/accuracy"])
