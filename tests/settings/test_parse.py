"""Claims about reading a config: what is accepted, what is refused, and that the error says why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from capsnet.errors import ConfigError, PluginError
from capsnet.settings.config import as_dict
from capsnet.settings.data import Digits
from capsnet.settings.parse import config_from_dict, config_from_omegaconf, parse_values, unknown_key
from capsnet.settings.routing import Attention, Dynamic, Uniform
from capsnet.settings.trainer import NO_EFFECT


def with_setting(key, value):
    return config_from_dict({}, {key: value})


def refusal(saved, overrides=None, origin=""):
    """The one line that refuses a config."""
    with pytest.raises(ConfigError) as caught:
        config_from_dict(saved, overrides, origin)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_saved_config_may_refer_to_nothing_outside_of_it():
    for saved in (
        {"data": {"mirror": "http://127.0.0.1/${oc.env:HOME}"}},
        {"${oc.env:HOME}": 3},
        {"trainer": {"devices": ["${oc.env:HOME}"]}},
    ):
        assert refusal(saved, origin="x.ckpt").startswith("x.ckpt: its config contains ${...}")


def test_settings_of_several_types_are_read_from_text():
    assert with_setting("trainer.devices", "2").trainer.devices == 2
    assert with_setting("trainer.devices", "[0, 1]").trainer.devices == [0, 1]
    assert with_setting("trainer.limit_train_batches", "0.5").trainer.limit_train_batches == 0.5
    assert with_setting("trainer.fast_dev_run", "true").trainer.fast_dev_run is True
    assert "trainer.devices=two" in refusal({}, {"trainer.devices": "two"})


@pytest.mark.parametrize(
    ("key", "value"),
    [("routing.iters", "abc"), ("data.batch_size", 1.5), ("model.dropout", "x"), ("figures", "maybe"), ("seed", None)],
)
def test_wrong_types_are_refused_by_key_and_value(key, value):
    message = refusal({}, {key: value})
    assert message.startswith(f"{key}={'null' if value is None else value}: ")
    assert "\n" not in message


@pytest.mark.parametrize(("typo", "meant"), [("routing.iter", "routing.iters"), ("data.batchsize", "data.batch_size")])
def test_unknown_keys_are_refused_with_the_nearest_right_one(typo, meant):
    assert refusal({}, {typo: 3}) == f"{typo}=3: no such key; did you mean {meant}?"


def test_a_key_that_is_like_no_other_is_refused_with_those_there_are():
    assert "no such key; loss has m_pos, m_neg, down_weight, " in refusal({}, {"loss.zzzzzzzz": 3})
    assert "there are augment, callbacks, data, early_stopping, figures" in refusal({}, {"zzz": 3})


def test_a_setting_of_another_option_is_said_to_belong_there():
    expected = "routing.leaky=true: belongs to routing=dynamic, which is not chosen"
    assert refusal({"routing": {"name": "uniform"}}, {"routing.leaky": "true"}) == expected
    assert refusal({}, {"routing": "uniform", "routing.leaky": "true"}) == expected
    assert unknown_key("routing.leaky=true,false").endswith(
        "not chosen; if some jobs of a sweep have it, sweep those apart, and compare"
    )
    saved = {"data": {"name": "digits", "root": "x"}}
    assert "data.root=x: belongs to data=kmnist, k49, mnist, " in refusal(saved)


@pytest.mark.parametrize("name", NO_EFFECT)
def test_an_argument_of_lightnings_trainer_that_does_nothing_here_is_refused_with_the_reason(name):
    assert refusal({}, {f"trainer.{name}": "3"}) == f"trainer.{name}=3: does nothing here, since {NO_EFFECT[name]}"


@settings(max_examples=40)
@given(iters=st.integers(1, 100), dropout=st.floats(0, 0.999), seed=st.integers(0, 2**32 - 1))
def test_values_in_range_arrive_unchanged(iters, dropout, seed):
    config = config_from_dict({"routing": {"iters": iters}, "model": {"dropout": dropout}, "seed": seed})
    assert (config.routing.iters, config.model.dropout, config.seed) == (iters, dropout, seed)


def test_a_saved_config_comes_back_as_it_was():
    changes = {"data": "digits", "data.limit": 100, "routing": "uniform", "trainer.devices": [0, 1], "figures": False}
    for config in (with_setting("routing.iters", 7), config_from_dict({}, changes)):
        assert config_from_dict(as_dict(config)) == config


def test_a_config_that_hydra_composed_is_read_like_a_saved_one():
    composed = OmegaConf.create(
        {"seed": 3, "augment": {"max_shift": 2}, "data": {"name": "digits", "limit": "${seed}0"}}
    )
    assert config_from_omegaconf(composed) == config_from_dict(
        {}, {"seed": 3, "augment.max_shift": 2, "data": "digits", "data.limit": 30}
    )
    with pytest.raises(ConfigError, match=r"data\.limit"):
        config_from_omegaconf(OmegaConf.create({"data": {"limit": "${nowhere}"}}))


def test_what_is_missing_in_a_file_takes_its_default_not_what_suits_the_network_today():
    saved = {"model": {"name": "efficient_capsnet"}, "optimizer": {"name": "adam"}}
    in_file, in_python = config_from_dict(saved, origin="run/best.ckpt"), config_from_dict(saved)
    assert (in_file.optimizer.lr, in_file.routing) == (0.001, Dynamic())
    assert (in_python.optimizer.lr, in_python.routing) == (0.016, Attention())


@pytest.mark.parametrize("key", ["routing", "routing.name"])
def test_another_option_can_be_chosen_for_a_saved_config(key):
    assert config_from_dict({"routing": {"name": "dynamic", "iters": 7}}, {key: "uniform"}).routing == Uniform()


def test_another_option_keeps_the_settings_that_it_has_too():
    config = config_from_dict({"data": {"name": "kmnist", "root": "x", "limit": 30}}, {"data": "digits"})
    assert (config.data.source, config.data.limit) == (Digits(), 30)


@pytest.mark.parametrize("key", ["augment", "trainer"])
def test_a_whole_group_without_options_cannot_be_replaced(key):
    assert "set its keys one by one" in refusal({}, {key: "shift"})


def test_a_saved_config_with_anything_unknown_is_refused():
    for section, named in (({"_target_": "os.system"}, "_target_"), ({"dropout": "much"}, "dropout=much: ")):
        message = refusal({"model": section}, {"seed": "1"}, origin="x.ckpt")
        assert message.startswith(f"x.ckpt: its config does not fit this version: model.{named}")


@pytest.mark.parametrize(
    "saved", [{"model": 3}, {"model": None}, {"trainer": [1]}, {"augment": "x"}, {"data": {"name": ["x"]}}, {3: 4}]
)
def test_a_saved_config_of_the_wrong_form_is_refused(saved):
    assert refusal(saved)


@settings(max_examples=50)
@given(
    key=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12)
    | st.from_regex(r"(data|routing|trainer|seed)\.[a-z.\[\]]{0,8}", fullmatch=True)
)
def test_any_key_is_either_a_setting_or_refused_in_one_line(key):
    message = ""
    try:
        with_setting(key, "3")
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message


def test_an_option_of_a_plugin_is_refused_with_the_plugin_to_add():
    with pytest.raises(PluginError, match=r"run/best\.ckpt: add plugin=/x/mine\.py, which defines model=tiny"):
        config_from_dict({"plugin": "/x/mine.py", "model": {"name": "tiny"}}, origin="run/best.ckpt")


def test_values_on_the_command_line_are_taken_as_they_stand():
    assert parse_values(["run=/a b/c=d,e", "data.limit=null"]) == {"run": "/a b/c=d,e", "data.limit": None}
    for wrong in ("outputs/x", "=3", ""):
        with pytest.raises(ConfigError, match="expected KEY=VALUE"):
            parse_values([wrong])
