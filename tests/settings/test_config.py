"""Claims about a whole config: what is part of what is trained, and which values contradict each other."""

import pytest

from capsnet.errors import ConfigError
from capsnet.settings.config import OPTIONS, as_dict, known_settings, leaves, untrained_keys
from capsnet.settings.parse import config_from_dict
from capsnet.text import either


def test_the_defaults_are_the_papers_network_on_kmnist():
    config = config_from_dict({})
    assert as_dict(config)["model"] == {
        "name": "capsnet",
        "conv_channels": 256,
        "conv_stride": 1,
        "primary_capsules": 32,
        "primary_dim": 8,
        "class_dim": 16,
        "decoder": "auto",
        "dropout": 0,
        "divide_primary": False,
        "first_weights": "scaled",
    }
    assert (as_dict(config)["data"]["name"], config.routing.iters) == ("kmnist", 3)


def test_a_config_as_saved_has_every_setting_once():
    config = config_from_dict({"data": {"name": "digits"}, "routing": {"name": "uniform"}})
    saved = as_dict(config)
    shared = {"batch_size": 64, "val_size": 0.1, "limit": None, "class_weights": None, "normalize": None}
    assert saved["data"] == {"name": "digits", **shared}
    assert saved["routing"] == {"name": "uniform"}
    assert saved["seed"] == 0
    sections = {group: section for group, section in saved.items() if group not in ("logger", "callbacks")}
    flat = {f"{group}.{key}" for group, section in sections.items() if isinstance(section, dict) for key in section}
    flat |= {key for key in saved if key not in sections or not isinstance(saved[key], dict)}
    names = ["augment.names", "metrics.names"]  # which the sections of the options imply
    assert sorted([*flat - {"metrics.accuracy"}, *names]) == sorted(key for key, _, _ in leaves(config))


def test_where_and_how_a_run_is_computed_is_no_part_of_what_is_trained_and_every_other_setting_is():
    computed = {"data.root", "data.download", "data.mirror", "trainer.devices", "trainer.strategy", "trainer.compile"}
    assert computed | {"figures", "plugin", "logger", "metrics.names"} <= untrained_keys()
    trained = {
        "seed",
        "routing.iters",
        "data.limit",
        "augment.max_shift",
        "model.dropout",
        "loss.m_pos",
        "optimizer.lr",
    }
    trained |= {"trainer.max_epochs", "trainer.precision", "early_stopping.patience"}
    assert not trained & untrained_keys()
    assert trained < {key for key, _ in known_settings()}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("routing.iters", 0, "at least 1"),
        ("model.conv_channels", 2**63, "at most 9223372036854775807"),
        ("model.dropout", 1.0, "at least 0 and below 1"),
        ("optimizer.lr", 0.0, "above 0"),
        ("optimizer.lr", float("nan"), "finite"),
        ("data.name", "none_such", f"choose {either(OPTIONS['data'])}"),
        ("data", "none_such", f"choose {either(OPTIONS['data'])}"),
        ("routing", "none_such", f"choose {either(OPTIONS['routing'])}"),
        ("data.val_size", 1.5, "whole number"),
        ("trainer.precision", "8-true", "one of auto"),
        ("seed", 2**32, "at most 4294967295"),
        ("trainer.deterministic", 3, "one of true, false, warn"),
        ("trainer.limit_val_batches", 1.5, "share"),
        ("trainer.limit_train_batches", 0, "a number of batches, at least 1"),
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
