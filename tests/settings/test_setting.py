"""Claims about a single setting: its default, its range, and what its dataclass field knows."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsnet.errors import ConfigError
from capsnet.settings.setting import Setting, setting, setting_of


@dataclasses.dataclass
class Example:
    size: int = setting(3, "a size", at_least=1, below=10)
    kind: str = setting("a", "a kind", one_of=("a", "b"))
    even: int = setting(2, "an even number", check=lambda value: value % 2 == 0, trained=False)
    plain: int = 7


def known(name):
    (field,) = (field for field in dataclasses.fields(Example) if field.name == name)
    return setting_of(field)


def test_a_field_knows_its_meaning_range_and_purpose():
    assert known("size") == Setting("a size", at_least=1, below=10)
    assert known("size").range == "at least 1 and below 10"
    assert known("kind").one_of == ("a", "b")
    assert (known("size").trained, known("even").trained) == (True, False)


@given(value=st.integers(-20, 20))
def test_a_number_is_accepted_exactly_if_it_is_within_its_bounds(value):
    if 1 <= value < 10:
        known("size").check_value("size", value)
    else:
        with pytest.raises(ConfigError, match=f"^size={value}: must be at least 1 and below 10$"):
            known("size").check_value("size", value)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("kind", "c", "must be one of a, b"), ("even", 3, "must be an even number"), ("plain", float("nan"), "finite")],
)
def test_another_value_is_refused_by_what_is_allowed(name, value, allowed):
    with pytest.raises(ConfigError, match=f"{name}={value}: .*{allowed}"):
        known(name).check_value(name, value)
