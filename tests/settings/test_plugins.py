"""Claims about plugins: what a good one adds, and that a malformed one is refused in one line and adds nothing."""

import hashlib
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from capsnet.errors import ConfigError, PluginError
from capsnet.settings import plugins
from capsnet.settings.config import ALL_OPTIONS, OPTIONS, as_dict, check, leaves, name_of
from capsnet.settings.parse import config_from_dict
from capsnet.settings.plugins import load_plugin, loaded_plugin

TINY = """
    from dataclasses import dataclass

    @dataclass
    class Tiny:
        size: int = 3

        def build(self, image_shape, num_classes, routing):
            return (self.size, image_shape, num_classes, routing)

    OPTIONS = {"model": {"tiny": Tiny}}
"""


@pytest.fixture(autouse=True)
def _without_plugins():
    """Forget, after each test, what its plugin has added."""
    before, loaded, search = {g: dict(options) for g, options in ALL_OPTIONS.items()}, plugins._loaded, sys.path[:]
    yield
    for group, options in before.items():
        ALL_OPTIONS[group].clear()
        ALL_OPTIONS[group].update(options)
    plugins._loaded, sys.path[:] = loaded, search
    for name in [name for name in sys.modules if name.startswith("capsnet_plugin_")]:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    """Writes a plugin, and gives its path."""

    def write(content: str, name: str = "mine.py") -> Path:
        (tmp_path / name).write_text(textwrap.dedent(content), encoding="utf-8")
        return tmp_path / name

    return write


def refusal(path):
    """The one line that refuses a plugin, which leaves the options as they were."""
    before = {group: dict(options) for group, options in ALL_OPTIONS.items()}
    with pytest.raises(PluginError) as caught:
        load_plugin(path)
    assert before == ALL_OPTIONS
    assert loaded_plugin() is None
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"plugin={path}: ")
    return message.removeprefix(f"plugin={path}: ")


def with_fields(*fields):
    """A plugin whose network has these fields."""
    lines = "".join(f"    {field}\n" for field in fields)
    return (
        "import enum\nfrom dataclasses import dataclass, field\nfrom pathlib import Path\nfrom typing import Any\n"
        f"@dataclass\nclass Tiny:\n{lines}    def build(self, *given): pass\nOPTIONS = {{'model': {{'tiny': Tiny}}}}\n"
    )


class TestGood:
    def test_an_added_option_is_configured_and_built_like_any_other(self, write):
        load_plugin(write(TINY))
        config = config_from_dict({"model": {"name": "tiny"}}, {"model.size": "5"})
        assert as_dict(config)["model"] == {"name": "tiny", "size": 5}
        assert config.model.build((1, 5, 5), 2, None) == (5, (1, 5, 5), 2, None)
        assert config_from_dict(as_dict(config)) == config

    def test_its_settings_are_checked_like_any_other(self, write):
        load_plugin(write(TINY))
        for values, message in (
            ({"size": "many"}, "model.size=many: "),
            ({"sise": 5}, "did you mean model.size"),
            ({"divide_primary": True}, "belongs to model=capsnet or small_capsnet, which is not chosen"),
        ):
            with pytest.raises(ConfigError, match=message):
                config_from_dict({"model": {"name": "tiny", **values}})

    def test_ranges_contradictions_and_postponed_annotations_work(self, write):
        load_plugin(
            write("""
                from __future__ import annotations

                from dataclasses import dataclass

                from capsnet import Output, setting
                from capsnet.errors import ConfigError

                @dataclass
                class Mine:
                    low: int = setting(1, "the lower one", at_least=0)
                    high: float | None = 3.5

                    def check(self) -> None:
                        if self.high is not None and self.low > self.high:
                            raise ConfigError("routing.low: above routing.high")

                    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int) -> Output:
                        return in_caps * self.low

                OPTIONS = {"routing": {"mine": Mine}}
            """)
        )
        config = config_from_dict({"routing": {"name": "mine", "high": None}})
        assert as_dict(config)["routing"] == {"name": "mine", "low": 1, "high": None}
        with pytest.raises(ConfigError, match=r"routing\.low=-1: must be at least 0"):
            config_from_dict({"routing": {"name": "mine", "low": -1}})
        with pytest.raises(ConfigError, match=r"routing\.low: above"):
            config_from_dict({"routing": {"name": "mine", "low": 4}})

    def test_what_suits_it_counts_where_nothing_else_is_asked_for(self, write):
        suits = {"routing": "attention", "optimizer.lr": 0.5, "trainer.max_epochs": 3}
        load_plugin(write(with_fields(f"suits = {suits}")))
        for given, overrides, expected in (
            ({"trainer": {"max_epochs": 4}}, {}, ("attention", 0.5, 4)),
            ({}, {"routing": "dynamic", "optimizer.lr": "0.1"}, ("dynamic", 0.1, 3)),
        ):
            config = config_from_dict({"model": {"name": "tiny"}, **given}, overrides)
            chosen = name_of("routing", config.routing)
            assert (chosen, config.optimizer.lr, config.trainer.max_epochs) == expected

    def test_an_optimizer_gets_a_learning_rate_a_warm_up_and_schedules_from_the_class_that_it_derives_from(self, write):
        load_plugin(
            write("""
                from dataclasses import dataclass

                from capsnet import Optimizer

                @dataclass
                class Mine(Optimizer):
                    rho: float = 0.8

                    def make(self, parameters, fused):
                        from torch.optim import Adadelta

                        return Adadelta(parameters, lr=self.lr, rho=self.rho)

                OPTIONS = {"optimizer": {"mine": Mine}}
            """)
        )
        option = config_from_dict({"optimizer": {"name": "mine"}}, {"optimizer.schedule": "cosine"}).optimizer
        optimizer, schedule = option.build([torch.nn.Parameter(torch.ones(1))], fused=True, epochs=2)
        assert optimizer.param_groups[0]["rho"] == 0.8
        rates = []
        for _ in range(3):
            rates.append(schedule.get_last_lr()[0] / option.lr)
            optimizer.step()
            schedule.step()
        assert rates == pytest.approx([0.5, 1, 0])  # a warm-up of one epoch suits the network

    def test_a_plugin_may_import_its_neighbours(self, write):
        write("SIZE = 9", "a_neighbour_of_the_plugin.py")
        load_plugin(
            write(TINY.replace("    @", "    from a_neighbour_of_the_plugin import SIZE\n\n    @").replace("3", "SIZE"))
        )
        assert config_from_dict({"model": {"name": "tiny"}}).model.size == 9

    def test_a_dataset_has_the_settings_that_all_datasets_share(self, write):
        load_plugin(write(TINY.replace("model", "data")))
        config = config_from_dict({"data": {"name": "tiny", "batch_size": 7, "size": 4}})
        check(config)
        assert (config.data.batch_size, config.data.source.size) == (7, 4)

    def test_options_of_several_groups_may_share_a_dataclass_and_a_name(self, write):
        load_plugin(write(TINY.replace("OPTIONS =", "OPTIONS = {'loss': {'tiny': Tiny}} |")))
        assert {"model", "loss"} == {group for group, options in OPTIONS.items() if "tiny" in options}

    def test_a_field_may_hold_a_list_of_its_own(self, write):
        load_plugin(write(with_fields("sizes: list[int] = field(default_factory=lambda: [1, 2])")))
        one, other = (config_from_dict({"model": {"name": "tiny"}}).model for _ in range(2))
        one.sizes.append(3)
        assert other.sizes == [1, 2]

    def test_a_field_without_a_default_has_to_be_given(self, write):
        load_plugin(write(with_fields("size: int")))
        with pytest.raises(ConfigError, match=r"model\.size: needs a value"):
            config_from_dict({"model": {"name": "tiny"}})
        assert config_from_dict({"model": {"name": "tiny", "size": 4}}).model.size == 4

    def test_it_is_known_by_its_absolute_path_and_digest(self, write, monkeypatch):
        path = write(TINY)
        monkeypatch.chdir(path.parent)
        plugin = load_plugin("mine.py")
        assert plugin == loaded_plugin() == (path, hashlib.sha256(path.read_bytes()).hexdigest())


AUGMENTATIONS = """
    from dataclasses import dataclass
    from capsnet import setting

    @dataclass
    class Ink:
        strength: float = setting(0.5, "strength", at_least=0, at_most=1)

        def build(self):
            return self

    @dataclass
    class Specks:
        def build(self):
            return self

    OPTIONS = {"augment": {"ink": Ink, "specks": Specks}}
"""


class TestCombined:
    """Options of a group of which a config may have several."""

    def test_each_has_a_section_of_its_own_beside_the_groups_settings(self, write):
        load_plugin(write(AUGMENTATIONS))
        config = config_from_dict({"augment": {"max_shift": 2, "ink": {"strength": 0.25}, "specks": {}}})
        assert config.augment.max_shift == 2
        assert {name: vars(option) for name, option in config.augment.options.items()} == {
            "ink": {"strength": 0.25},
            "specks": {},
        }
        assert {leaf.key: leaf.value for leaf in leaves(config)}["augment.ink.strength"] == 0.25

    @pytest.mark.parametrize("names", [("ink", "specks"), ("specks", "ink"), ()])
    def test_a_config_keeps_their_order_when_it_is_saved_and_read_again(self, write, names):
        load_plugin(write(AUGMENTATIONS))
        config = config_from_dict({}, {"augment": f"[{','.join(names)}]"})
        again = config_from_dict(as_dict(config))
        assert again == config
        assert tuple(again.augment.options) == tuple(config.augment.options) == names
        assert {leaf.key: leaf.value for leaf in leaves(again)}["augment.names"] == ",".join(names)

    def test_choosing_others_for_a_saved_config_keeps_the_settings_of_those_that_stay(self, write):
        load_plugin(write(AUGMENTATIONS))
        saved = {"augment": {"max_shift": 2, "ink": {"strength": 0.25}}}
        augment = config_from_dict(saved, {"augment": "[specks, ink]"}).augment
        assert (augment.max_shift, list(augment.options), augment.options["ink"].strength) == (
            2,
            ["specks", "ink"],
            0.25,
        )
        assert not config_from_dict(saved, {"augment": None}).augment.options

    @pytest.mark.parametrize(
        ("augment", "message"),
        [
            ({"ink": {"strength": 2}}, "augment.ink.strength=2.0: must be at least 0 and at most 1"),
            (
                {"ink": {"strength": "x"}},
                "augment.ink.strength=x: Value 'x' of type 'str' could not be converted to Float",
            ),
            ({"ink": {"strenth": 1}}, "augment.ink.strenth=1: no such key; did you mean augment.ink.strength?"),
            ({"inks": {}}, "augment=inks: no such option; did you mean augment=ink"),
            ({"ink": 3}, "augment.ink=3: set its keys one by one, such as augment.ink.KEY=VALUE"),
        ],
    )
    def test_their_settings_are_checked_like_any_other(self, write, augment, message):
        load_plugin(write(AUGMENTATIONS))
        with pytest.raises(ConfigError) as caught:
            config_from_dict({"augment": augment})
        assert str(caught.value).startswith(message)

    def test_a_saved_config_that_has_one_names_the_plugin_to_add(self):
        saved = {"plugin": "/x/mine.py", "augment": {"max_shift": 0, "ink": {"strength": 0.5}}}
        with pytest.raises(PluginError, match=r"^best\.ckpt: add plugin=/x/mine\.py, which defines augment=ink$"):
            config_from_dict(saved, origin="best.ckpt")

    @pytest.mark.parametrize("name", ["max_shift", "names"])
    def test_none_is_called_like_a_setting_of_the_group(self, write, name):
        message = refusal(write(AUGMENTATIONS.replace('"ink"', f'"{name}"')))
        assert message == f"OPTIONS['augment']['{name}']: augment.{name} is a setting; choose another name"


class TestOnlyWhenNamed:
    @pytest.mark.parametrize(
        ("second", "why"),
        [("other.py", "only one plugin in a program, and {first} is loaded already"), ("mine.py", "changed")],
    )
    def test_a_second_one_is_refused(self, write, second, why):
        first = write(TINY)
        load_plugin(first)
        changed = write(TINY.replace("tiny", "other"), second)
        with pytest.raises(PluginError, match=why.format(first=first)):
            load_plugin(changed)
        assert "other" not in OPTIONS["model"]

    def test_a_saved_config_that_names_a_plugin_does_not_run_it(self, write, tmp_path):
        path = write(TINY + f"\n    open({str(tmp_path / 'witness')!r}, 'w')")
        saved = {"plugin": str(path), "model": {"name": "tiny"}}
        with pytest.raises(PluginError, match=rf"^run/best\.ckpt: add plugin={path}, which defines model=tiny$"):
            config_from_dict(saved, origin="run/best.ckpt")
        config_from_dict(saved | {"model": {"name": "capsnet"}})
        assert not (tmp_path / "witness").exists()
        load_plugin(path)
        assert config_from_dict(saved).model.size == 3
        assert (tmp_path / "witness").exists()


def option(expression: str) -> str:
    """A plugin whose network is this expression."""
    return TINY.replace('"tiny": Tiny', f'"tiny": {expression}')


class TestMalformed:
    def test_a_missing_file(self, tmp_path):
        assert refusal(tmp_path / "nowhere.py") == "cannot be read (No such file or directory)"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("\nOPTIONS = (\n", "line 2: SyntaxError: "),
            ("\nimport a_package_that_nobody_has", "line 2: ModuleNotFoundError: "),
            ("def f():\n    1 / 0\n\nf()", "line 2: ZeroDivisionError: division by zero"),
            ("raise ValueError('one\\ntwo')", "line 1: ValueError: one two"),
            ("", "has no OPTIONS = "),
            ("OPTIONS = {'model': 3}", "has no OPTIONS = "),
            (TINY.replace("model", "trainer"), "OPTIONS has an unknown group 'trainer'; choose data, model, routing, "),
            (TINY.replace('"tiny"', '"cnn"'), "OPTIONS['model']['cnn']: model=cnn exists already; choose another name"),
            (option("int"), "OPTIONS['model']['tiny']: must be a dataclass with a method build(...)"),
            (option("3"), "OPTIONS['model']['tiny']: must be a dataclass with a method build(...)"),
            (option("Tiny()"), "OPTIONS['model']['tiny']: must be a dataclass with a method build(...)"),
            (
                with_fields("iters = 2"),
                "OPTIONS['model']['tiny']: iters has no type, so it is no setting: iters: int = 2",
            ),
            (
                TINY.replace("model", "task"),
                "OPTIONS['task']['tiny']: must say what tells the best epoch: monitor = \"NAME\"",
            ),
            (with_fields('also = "other"'), "OPTIONS['model']['tiny']: also must list names: also = (\"NAME\",)"),
            (TINY.replace("build", "make"), "OPTIONS['model']['tiny']: must be a dataclass with a method build(...)"),
            (option('Tiny, "small": Tiny'), "OPTIONS['model']['tiny']: each name needs a dataclass of its own"),
            (TINY.replace("size", "name"), "OPTIONS['model']['tiny']: leave out name: every option of model has it"),
            (
                TINY.replace("size", "limit").replace("model", "data"),
                "OPTIONS['data']['tiny']: leave out limit: every option of data has it",
            ),
        ],
    )
    def test_is_refused_by_what_is_wrong_and_where(self, write, content, message):
        assert refusal(write(content)).startswith(message)

    def test_after_an_exception_nothing_of_the_module_stays(self, write):
        search = sys.path[:]
        refusal(write("1 / 0"))
        assert not [name for name in sys.modules if name.startswith("capsnet_plugin_")]
        assert sys.path == search

    @pytest.mark.parametrize(
        "field",
        [
            "size: complex = 1j",
            "size: set = field(default_factory=set)",
            "size: 'Unheard' = 3",
            "size: int = 'many'",
            "size: int = None",
            "size: list[int] = field(default_factory=lambda: 1 / 0)",
            "size: Path = Path('x')",
        ],
    )
    def test_a_field_that_cannot_be_set_or_saved(self, write, field):
        assert refusal(write(with_fields("fine: int = 3", field))).startswith("OPTIONS['model']['tiny']: ")

    def test_one_bad_option_keeps_out_the_good_ones(self, write):
        content = with_fields("size: complex = 1j") + "@dataclass\nclass Good(Tiny):\n    size: int = 3\n"
        refusal(write(content + "OPTIONS = {'loss': {'good': Good}, 'model': {'tiny': Tiny}}\n"))
