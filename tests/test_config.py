"""Claims about the schema: what it accepts, what it refuses, and that it says why."""

import dataclasses
import inspect

import pytest
import pytorch_lightning as pl
from hypothesis import given
from hypothesis import strategies as st

from capsnet.compose import config_from_dict, parse_values
from capsnet.config import DATASETS, ROUTINGS, Config, TrainerConfig, check, settings
from capsnet.errors import ConfigError


def with_setting(key, value):
    return config_from_dict({}, {key: value})


def test_the_defaults_are_valid():
    check(Config())


def test_every_setting_says_what_it_means():
    for key, _, entry in settings(Config()):
        assert entry.metadata.get("help"), key


def test_trainer_settings_are_the_arguments_of_lightnings_trainer_but_for_those_that_its_docstring_names():
    known = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    ours = {entry.name for entry in dataclasses.fields(TrainerConfig)}
    assert ours - known == {"compile"}
    assert all(name in TrainerConfig.__doc__ for name in known - ours)


def test_a_saved_config_may_refer_to_nothing_outside_of_it():
    with pytest.raises(ConfigError, match="not resolved"):
        config_from_dict({"data": {"mirror": "http://127.0.0.1/${oc.env:HOME}"}})


def test_settings_of_several_types_are_read_from_text():
    assert config_from_dict({}, {"trainer.devices": "2"}).trainer.devices == 2
    assert config_from_dict({}, {"trainer.limit_train_batches": "0.5"}).trainer.limit_train_batches == 0.5
    with pytest.raises(ConfigError, match=r"trainer\.devices"):
        config_from_dict({}, {"trainer.devices": "two"})


def test_names_in_the_schema_are_the_names_that_exist():
    from capsnet import routing, sources
    from capsnet.config import DataConfig

    assert set(ROUTINGS) == set(routing.ROUTINGS)
    for name in DATASETS:
        assert sources.open_source(DataConfig(name=name)).name == name


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("routing.iters", 0, "at least 1"),
        ("model.dropout", 1.0, "at least 0 and below 1"),
        ("model.dropout", -0.1, "at least 0"),
        ("optimizer.lr", 0, "above 0"),
        ("optimizer.lr", float("nan"), "finite"),
        ("optimizer.lr", float("inf"), "finite"),
        ("optimizer.lr_decay", 1.5, "at most 1"),
        ("data.name", "cifar", "one of kmnist, mnist"),
        ("data.batch_size", -3, "at least 1"),
        ("data.val_size", 1.5, "whole number"),
        ("trainer.precision", "8-true", "one of auto"),
        ("seed", -1, "at least 0"),
        ("trainer.deterministic", 3, "one of True, False, warn"),
        ("trainer.limit_val_batches", 1.5, "share"),
        ("trainer.check_val_every_n_epoch", 11, "nothing would be validated"),
        ("loss.m_neg", 0.95, "below loss.m_pos"),
    ],
)
def test_values_out_of_range_are_refused_by_key_value_and_what_is_allowed(key, value, allowed):
    with pytest.raises(ConfigError) as caught:
        with_setting(key, value)
    message = str(caught.value)
    assert message.startswith(f"{key}={value}")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value"), [("routing.iters", "abc"), ("data.batch_size", 1.5), ("model.dropout", "x"), ("seed", None)]
)
def test_wrong_types_are_refused_by_key(key, value):
    with pytest.raises(ConfigError, match=key):
        with_setting(key, value)


@pytest.mark.parametrize(("typo", "meant"), [("routing.iter", "routing.iters"), ("data.batchsize", "data.batch_size")])
def test_unknown_keys_are_refused_with_the_nearest_right_one(typo, meant):
    with pytest.raises(ConfigError, match=f"{typo}=3: no such key; did you mean {meant}"):
        with_setting(typo, 3)


def test_early_stopping_without_validation_is_refused():
    with pytest.raises(ConfigError, match="needs validation"):
        config_from_dict({"data": {"val_size": 0}, "early_stopping": {"patience": 3}})


@given(iters=st.integers(1, 100), dropout=st.floats(0, 0.999), seed=st.integers(0, 2**32 - 1))
def test_values_in_range_arrive_unchanged(iters, dropout, seed):
    config = config_from_dict({"routing": {"iters": iters}, "model": {"dropout": dropout}, "seed": seed})
    assert (config.routing.iters, config.model.dropout, config.seed) == (iters, dropout, seed)


def test_a_saved_config_comes_back_as_it_was():
    config = with_setting("routing.iters", 7)
    assert config_from_dict(dataclasses.asdict(config)) == config


def test_a_saved_config_with_anything_unknown_is_refused():
    with pytest.raises(ConfigError, match="not one of this version"):
        config_from_dict({"model": {"_target_": "os.system"}}, origin="x.ckpt")


def test_values_on_the_command_line_are_taken_as_they_stand():
    assert parse_values(["run=/a b/c=d,e", "data.limit=null"]) == {"run": "/a b/c=d,e", "data.limit": None}
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        parse_values(["outputs/x"])
