"""Claims about composing: which paths get quotes before Hydra sees them, and which settings follow from choices."""

import pytest
import yaml
from conftest import run_in_process
from hydra.core.override_parser.overrides_parser import OverridesParser

from capsnet.settings.composing import with_quoted_paths


@pytest.mark.parametrize(
    "path", ["~/pictures", "/x/My Photos (2024)", "it's", 'a "b"', "Bücher", "写真", "a=b", "[new] x", "C:\\new x\\"]
)
def test_a_path_may_have_any_characters(path):
    for key in ("data.root", "data.cache", "data.labels", "plugin", "++data.root"):
        (argument,) = with_quoted_paths([f"{key}={path}"])
        assert OverridesParser.create().parse_override(argument).value() == path


@pytest.mark.parametrize(
    "expression", [r"patient(\d+)", r"p\D*(\d{1,3})_", r"^([^_]+)_", r"(?P<a>\w+)_\d+|it's", "a,b"]
)
def test_a_regular_expression_may_have_any_characters(expression):
    (argument,) = with_quoted_paths([f"data.group={expression}"])
    assert OverridesParser.create().parse_override(argument).value() == expression
    assert with_quoted_paths([argument, "data.group=null"]) == [argument, "data.group=null"]


@pytest.mark.parametrize(
    "argument",
    [
        *("data.root=a,b", "data.root=~/a,~/b", "data.root=choice(a,b)", "data.root='~/x'", "data.root=/x/My Photos"),
        *("data.root=null", "data.root=", "model.name=~/x", "hydra.run.dir=~/x", "data.root", "-m"),
    ],
)
def test_what_hydra_reads_what_may_be_a_sweep_and_what_is_no_path_are_left_alone(argument):
    assert with_quoted_paths([argument]) == [argument]


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        (("model=capsnet",), 0.004),
        (("model=capsnet", "routing=attention"), 0.004),
        (("model=efficient_capsnet", "routing=attention"), 0.016),
        (("model=capsnet", "routing=attention", "optimizer.lr=0.5"), 0.5),
        (("experiment=best_2017", "routing=attention"), 0.004),
        (("model=resnet18",), 0.001),
        (("model=resnet18", "optimizer.lr=0.5"), 0.5),
        (("experiment=thorough", "model=resnet18"), 0.001),
    ],
)
def test_a_network_has_a_learning_rate_of_its_own_but_what_is_asked_for_wins(tmp_path, arguments, rate):
    done = run_in_process("train.py", *arguments, "--cfg", "job", cwd=tmp_path)
    assert yaml.safe_load(done.stdout)["optimizer"]["lr"] == rate
