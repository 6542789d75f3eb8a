"""Claims about arguments before Hydra sees them: which paths get quotes."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from capsnet.cli.composing import with_quoted_paths


@pytest.mark.parametrize(
    "path", ["~/pictures", "/x/My Photos (2024)", "it's", 'a "b"', "Bücher", "写真", "a=b", "[new] x"]
)
def test_a_path_may_have_any_characters(path):
    for key in ("data.root", "data.cache", "plugin", "++data.root"):
        (argument,) = with_quoted_paths([f"{key}={path}"])
        assert OverridesParser.create().parse_override(argument).value() == path


@pytest.mark.parametrize(
    "argument",
    [
        *("data.root=a,b", "data.root=~/a,~/b", "data.root=choice(a,b)", "data.root='~/x'", "data.root=/x/My Photos"),
        *("data.root=null", "data.root=", "model.name=~/x", "hydra.run.dir=~/x", "data.root", "-m"),
    ],
)
def test_what_hydra_reads_what_may_be_a_sweep_and_what_is_no_path_are_left_alone(argument):
    assert with_quoted_paths([argument]) == [argument]
