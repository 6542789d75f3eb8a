"""Claims about numbers, lists and paths as people read them."""

import pytest

from capsnet import text


@pytest.mark.parametrize(("value", "shown"), [(0.98451, "98.45%"), (1, "100.00%"), (None, "-")])
def test_a_fraction_is_a_percentage_and_an_unknown_one_a_dash(value, shown):
    assert text.percent(value) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 epochs"), (1, "1 epoch"), (12000, "12,000 epochs")])
def test_only_one_thing_is_singular(count, shown):
    assert text.counted(count, "epoch") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(8.12, "8.1 s"), (60, "1 min 0 s"), (760.4, "12 min 40 s"), (3599.6, "1 h 0 min"), (11100, "3 h 5 min")],
)
def test_a_duration_has_the_units_that_matter(seconds, shown):
    assert text.duration(seconds) == shown


def test_a_number_of_a_plugin_that_is_best_if_low_is_no_percentage(monkeypatch):
    assert text.shown("val/angle", 0.5) == "50.00%"
    monkeypatch.setattr(text, "NUMBERS", {"angle"})
    assert (text.shown("val/angle", 0.5), text.shown("val/accuracy", 0.5)) == ("0.5", "50.00%")


def test_names_and_values_stand_in_two_columns():
    assert text.aligned({"a": "1", "long": "2"}) == "  a     1\n  long  2"


@pytest.mark.parametrize(("names", "shown"), [("a", "a"), ("ab", "a or b"), ("abc", "a, b or c")])
def test_alternatives_are_joined_by_or(names, shown):
    assert text.either(names) == shown


def test_a_path_below_the_current_folder_is_relative_and_another_is_absolute(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert text.relative(tmp_path / "here/outputs/run") == "outputs/run"
    assert text.relative(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")


def test_an_error_of_several_lines_becomes_one():
    assert text.on_one_line(ValueError("first\n    second\tthird")) == "first second third"


def test_characters_that_would_move_the_cursor_are_escaped_and_others_stay():
    assert text.printable("a\nb\x1b[2K\x07つ é") == r"a\nb\x1b[2K\x07つ é"
