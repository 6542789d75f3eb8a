"""Claims about a whole config: what is part of what is trained, and which values contradict each other."""

import pytest

from capsnet.errors import ConfigError
from capsnet.settings.config import as_dict, check, leaves, name_of
from capsnet.settings.parse import config_from_dict


def is_trained(key):
    """Is a setting said to be part of what is trained?"""
    (setting,) = (setting for leaf, _, setting in leaves(config_from_dict({})) if leaf == key)
    return setting.trained


def test_the_defaults_are_valid():
    check(config_from_dict({}))


def test_the_defaults_are_the_papers_network_on_kmnist():
    config = config_from_dict({})
    assert as_dict(config)["model"] == {
        "name": "capsnet",
        "conv_channels": 256,
        "conv_stride": 1,
        "primary_capsules": 32,
        "primary_dim": 8,
        "class_dim": 16,
        "decoder": "dense",
        "dropout": 0,
        "divide_primary": False,
        "first_weights": "scaled",
    }
    assert (as_dict(config)["data"]["name"], config.routing.iters) == ("kmnist", 3)


def test_a_config_as_saved_has_every_setting_once():
    config = config_from_dict({"data": {"name": "digits"}, "routing": {"name": "uniform"}})
    saved = as_dict(config)
    shared = {"batch_size": 64, "val_size": 0.1, "limit": None, "class_weights": None}
    assert saved["data"] == {"name": "digits", **shared}
    assert saved["routing"] == {"name": "uniform"}
    assert saved["seed"] == 0
    sections = {group: section for group, section in saved.items() if group not in ("logger", "callbacks")}
    flat = {f"{group}.{key}" for group, section in sections.items() if isinstance(section, dict) for key in section}
    flat |= {key for key in saved if key not in sections or not isinstance(saved[key], dict)}
    names = ["augment.names", "metrics.names"]  # which the sections of the options imply
    assert sorted([*flat - {"metrics.accuracy"}, *names]) == sorted(key for key, _, _ in leaves(config))


def test_an_option_knows_its_name():
    config = config_from_dict({"data": {"name": "mnist"}, "routing": {"name": "uniform"}})
    assert (name_of("data", config.data.source), name_of("routing", config.routing)) == ("mnist", "uniform")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.root", "elsewhere"),
        ("data.download", True),
        ("data.mirror", "http://127.0.0.1"),
        ("trainer.devices", 2),
        ("trainer.accelerator", "cpu"),
        ("trainer.strategy", "ddp"),
        ("trainer.enable_progress_bar", False),
        ("trainer.compile", True),
        ("figures", False),
    ],
)
def test_where_and_how_a_run_is_computed_is_no_part_of_what_is_trained(key, value):
    changed = config_from_dict({}, {key: value})
    assert changed != config_from_dict({})
    assert not is_trained(key)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("routing.iters", 2),
        ("routing.name", "uniform"),
        ("seed", 1),
        ("data.name", "mnist"),
        ("data.batch_size", 32),
        ("data.val_size", 0.2),
        ("data.limit", 1000),
        ("augment.max_shift", 1),
        ("model.dropout", 0.5),
        ("loss.m_pos", 0.8),
        ("optimizer.lr", 0.01),
        ("trainer.max_epochs", 3),
        ("trainer.precision", "32-true"),
        ("trainer.limit_train_batches", 2),
        ("early_stopping.patience", 3),
    ],
)
def test_every_other_setting_is_part_of_what_is_trained(key, value):
    assert config_from_dict({}, {key: value}) != config_from_dict({})
    assert is_trained(key)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("routing.iters", 0, "at least 1"),
        ("routing.iters", 1001, "at most 1000"),
        ("model.conv_channels", 2**63, "at most 9223372036854775807"),
        ("model.dropout", 1.0, "at least 0 and below 1"),
        ("model.dropout", -0.1, "at least 0"),
        ("optimizer.lr", 0.0, "above 0"),
        ("optimizer.lr", float("nan"), "finite"),
        ("optimizer.lr", float("inf"), "finite"),
        ("optimizer.lr_decay", 1.5, "at most 1"),
        ("data.name", "cifar", "choose kmnist, kmnist_7k, k49, mnist, fashion_mnist, digits, folder or idx"),
        ("data", "cifar", "choose kmnist, kmnist_7k, k49, mnist, fashion_mnist, digits, folder or idx"),
        ("routing", "ema", "choose dynamic, attention, uniform, static, inverted, em, vb, self or none"),
        ("data.batch_size", -3, "at least 1"),
        ("data.val_size", 1.5, "whole number"),
        ("trainer.precision", "8-true", "one of auto"),
        ("seed", -1, "at least 0"),
        ("seed", 2**32, "at most 4294967295"),
        ("trainer.deterministic", 3, "one of true, false, warn"),
        ("trainer.limit_val_batches", 1.5, "share"),
        ("trainer.limit_train_batches", 0, "a number of batches, at least 1"),
        ("trainer.devices", 0, "a number of devices"),
        ("trainer.devices", [], "a number of devices"),
        ("trainer.fast_dev_run", 0, "true, or a number of batches"),
        ("trainer.max_time", "1h", "DD:HH:MM:SS"),
        ("trainer.max_time", "00:00:00:00", "above zero"),
        ("trainer.check_val_every_n_epoch", 11, "nothing would be validated"),
        ("trainer.min_epochs", 11, "above trainer.max_epochs=10"),
        ("trainer.gradient_clip_algorithm", "l1", "one of norm, value"),
        ("loss.m_neg", 0.95, "below loss.m_pos"),
    ],
)
def test_values_out_of_range_are_refused_by_key_value_and_what_is_allowed(key, value, allowed):
    with pytest.raises(ConfigError) as caught:
        config_from_dict({}, {key: value})
    message = str(caught.value)
    assert message.startswith(f"{key}={value}")
    assert allowed in message
    assert "\n" not in message


def test_early_stopping_without_validation_is_refused():
    with pytest.raises(ConfigError, match="needs validation"):
        config_from_dict({"data": {"val_size": 0}, "early_stopping": {"patience": 3}})
