"""Claims about all options together: that each is described, and has the same name wherever it is named."""

import ast
import dataclasses
import inspect
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from conftest import wanted

from capsnet.data.dataset import Dataset
from capsnet.errors import ConfigError
from capsnet.settings.config import OPTIONS, SHARED, suits_of
from capsnet.settings.parse import DEFAULT_OPTIONS, config_from_dict
from capsnet.settings.trainer import NO_EFFECT, Trainer

CONFIGS = Path(__file__).parents[2] / "configs"
YOUR_OWN = {"folder": "root", "table": "labels", "idx": "root"}  # have no place and no classes before you give it
EVERY_OPTION = [(group, name) for group, options in OPTIONS.items() for name in options]


def of_the_groups(config):
    return {group: getattr(config, group) for group in OPTIONS}


@pytest.mark.parametrize(("group", "name"), EVERY_OPTION)
def test_every_option_says_what_it_is(group, name):
    assert OPTIONS[group][name].__doc__
    assert not OPTIONS[group][name].__doc__.startswith(f"{OPTIONS[group][name].__name__}(")  # made by dataclass


def builders(option):
    """The methods of an option that build something: `build`, or of a routing also or only `build_matrices`."""
    return [getattr(option, name) for name in ("build", "build_matrices") if hasattr(option, name)]


def built_by(option, build):
    """What of the project such a method imports and makes; None if it makes something of torch's."""
    source = ast.parse(textwrap.dedent(inspect.getsource(build)))
    node = next((node for node in ast.walk(source) if isinstance(node, ast.ImportFrom) and node.level), None)
    if node is None:
        return None
    package = option.__module__.rsplit(".", node.level)[0]
    return getattr(import_module(f"{package}.{node.module}"), node.names[0].name)


@pytest.mark.parametrize(("group", "name"), EVERY_OPTION)
def test_an_option_has_the_settings_and_defaults_of_what_it_builds(group, name):
    option, wanted = OPTIONS[group][name], {}
    for build in builders(option):
        built = built_by(option, build)
        if built is None:
            pytest.skip("builds nothing of this project")
        given = {*inspect.signature(build).parameters, "routing_iters"}  # when it is built, such as image_shape
        wanted |= {key: one.default for key, one in inspect.signature(built).parameters.items() if key not in given}
    fields = dataclasses.fields(option)
    own = {field.name: field.default for field in fields}
    own |= {field.name: tuple(field.default_factory()) for field in fields if callable(field.default_factory)}
    assert wanted.keys() == own.keys()
    presets = [base for base in option.__mro__[1:] if base in OPTIONS[group].values()]  # as of small_capsnet: CapsNet
    for key, default in wanted.items():
        if not (presets and key in vars(option)):
            assert own[key] == (dataclasses.MISSING if default is inspect.Parameter.empty else default), key


def test_the_sizes_of_splits_have_the_same_defaults_in_settings_and_in_the_dataset():
    parameters = inspect.signature(Dataset).parameters
    for field in dataclasses.fields(SHARED["data"]):
        if field.name in parameters and field.name != "source":
            assert field.default == parameters[field.name].default


@pytest.mark.parametrize("group", OPTIONS)
def test_an_option_has_the_same_name_in_python_in_its_file_and_inside_it(group):
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONFIGS / group).glob("*.yaml")}
    assert set(files) == set(OPTIONS[group])
    for name, content in files.items():
        suits = {"defaults": [{f"/suits/{group}@_global_": name}]} if suits_of(group, name) else {}
        assert content == {**suits, "name": name}


@pytest.mark.parametrize("group", OPTIONS)
def test_the_default_option_is_the_first_of_its_group(group):
    defaults = yaml.safe_load((CONFIGS / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = [entry[group] for entry in defaults if isinstance(entry, dict) and group in entry]
    assert chosen == [next(iter(OPTIONS[group]))] == [DEFAULT_OPTIONS[group]]


@pytest.mark.parametrize("name", OPTIONS["data"])
def test_every_dataset_can_be_opened_and_knows_its_classes_without_reading_anything(name):
    settings = {YOUR_OWN[name]: "/nowhere"} if name in YOUR_OWN else {}
    dataset = config_from_dict({"data": {"name": name, **settings}}).data.build()
    assert dataset.name == name
    assert name in YOUR_OWN or len(dataset.class_names) == {"k49": 49, "smallnorb": 5}.get(name, 10)
    assert dataset.counts == {}


@pytest.mark.parametrize("routing", OPTIONS["routing"])
@pytest.mark.parametrize("model", OPTIONS["model"])
def test_every_network_can_be_built_with_every_routing_that_it_can_use_and_trained_with_every_loss(model, routing):
    for loss in OPTIONS["loss"]:
        values = {"model": {"name": model}, "routing": {"name": routing}, "loss": {"name": loss}}
        network, build = OPTIONS["model"][model], OPTIONS["routing"][routing]
        method = "build_matrices" if getattr(network, "matrices", False) else "build"
        if network.capsules == (routing == "none") or (network.capsules and not hasattr(build, method)):
            with pytest.raises(ConfigError, match="routing="):
                config_from_dict(values)
            continue
        config = config_from_dict(values)
        network = config.model.build((1, 20, 20), 3, config.routing)
        images, labels = torch.rand(2, 1, 20, 20), torch.tensor([0, 2])
        parts = config.loss.build()(network(images, labels), wanted(labels, images))
        assert all(value.ndim == 0 and value.isfinite() for value in parts.values())
        parts["loss"].backward()


def test_an_argument_of_lightnings_trainer_is_either_a_setting_or_said_to_have_no_effect():
    known = set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"}
    ours = {entry.name for entry in dataclasses.fields(Trainer)}
    assert ours - known == {"compile", "fourier", "layout", "average_weights"}
    assert known - ours == set(NO_EFFECT)


def test_the_settings_and_plugins_load_neither_torch_nor_hydra():
    code = (
        "import importlib, pkgutil, sys, capsnet.settings as settings\n"
        "for module in pkgutil.iter_modules(settings.__path__, 'capsnet.settings.'):\n"
        "    if module.name == 'capsnet.settings.composing': continue  # composes through Hydra\n"
        "    importlib.import_module(module.name)\n"
        "assert 'capsnet.settings.plugins' in sys.modules\n"
        "print({'torch', 'pytorch_lightning', 'hydra', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
