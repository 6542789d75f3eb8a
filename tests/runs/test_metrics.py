"""Claims about metrics.csv: what is written comes back, what was not measured is NaN, damage is refused by name."""

import math

import pytest

from capsnet.errors import CheckpointError
from capsnet.runs.metrics import append_metrics, read_metrics, write_metrics

COLUMNS = ["epoch", "lr", "val/loss"]
ROWS = [
    {"epoch": 1, "lr": 0.001, "val/loss": 0.1},
    {"epoch": 2, "lr": 0.001},
    {"epoch": 3, "lr": 0.001, "val/loss": 0.1 / 3},
]


@pytest.fixture
def path(tmp_path):
    """A metrics.csv of three epochs; the second was not validated."""
    path = tmp_path / "metrics.csv"
    for row in ROWS:
        append_metrics(path, COLUMNS, row)
    return path


def test_values_come_back_to_the_last_digit_and_what_was_not_measured_is_nan(path):
    metrics = read_metrics(path)
    assert list(metrics) == COLUMNS
    assert metrics["epoch"] == [1, 2, 3]
    assert metrics["val/loss"][::2] == [0.1, 0.1 / 3]
    assert math.isnan(metrics["val/loss"][1])


def test_it_is_a_table_with_one_head_that_other_programs_read(path):
    assert path.read_text().splitlines() == ["epoch,lr,val/loss", "1,0.001,0.1", "2,0.001,", f"3,0.001,{0.1 / 3}"]


def test_without_a_file_there_are_no_metrics(tmp_path):
    assert read_metrics(tmp_path / "metrics.csv") == {}


def test_a_table_written_again_is_that_of_its_rows_alone(path):
    whole = path.read_bytes()
    with path.open("a") as file:
        file.write("4,0.")  # as if killed while it wrote
    write_metrics(path, COLUMNS, ROWS)
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_a_table_written_again_without_rows_is_removed(path):
    for _ in range(2):
        write_metrics(path, COLUMNS, [])
        assert not path.exists()


def test_rows_after_a_table_written_again_continue_it(path):
    write_metrics(path, COLUMNS, ROWS[:1])
    append_metrics(path, COLUMNS, {"epoch": 2, "lr": 0.5, "val/loss": 0.25})
    assert read_metrics(path) == {"epoch": [1, 2], "lr": [0.001, 0.5], "val/loss": [0.1, 0.25]}


@pytest.mark.parametrize(
    "content",
    [
        b"epoch,lr\nx,y\n",
        b"epoch\n1,2,3\n",
        b"lr\n1\n",
        b"\xff\xfe\n1\n",
        b"epoch\n\0\n",
    ],
)
def test_what_is_no_table_of_numbers_is_refused_by_name(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{path}: not a readable table of metrics") as caught:
        read_metrics(path)
    assert "\n" not in str(caught.value)
