"""Claims about metrics.csv: what is written comes back, what was not measured is NaN, damage is refused by name."""

import math

import pytest

from capsnet.errors import CheckpointError
from capsnet.runs.metrics import read_metrics, write_metrics

COLUMNS = ["epoch", "lr", "val/loss"]
ROWS = [
    {"epoch": 1, "lr": 0.001, "val/loss": 0.1},
    {"epoch": 2, "lr": 0.001},  # was not validated
    {"epoch": 3, "lr": 0.001, "val/loss": 0.1 / 3},
]


def test_values_come_back_to_the_last_digit_from_a_table_that_other_programs_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,lr,val/loss\n1,0.")  # of an earlier part, killed while it wrote
    write_metrics(path, COLUMNS, ROWS)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text().splitlines() == ["epoch,lr,val/loss", "1,0.001,0.1", "2,0.001,", f"3,0.001,{0.1 / 3}"]
    metrics = read_metrics(path)
    assert list(metrics) == COLUMNS
    assert metrics["epoch"] == [1, 2, 3]
    assert metrics["val/loss"][::2] == [0.1, 0.1 / 3]
    assert math.isnan(metrics["val/loss"][1])


def test_without_rows_there_is_no_table_and_without_a_table_there_are_no_metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch\n1\n")
    write_metrics(path, COLUMNS, [])
    assert not path.exists()
    assert read_metrics(path) == {}


@pytest.mark.parametrize("content", [b"epoch,lr\nx,y\n", b"epoch\n1,2,3\n", b"lr\n1\n", b"\xff\xfe\n1\n"])
def test_what_is_no_table_of_numbers_is_refused_by_name(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"^{path}: not a readable table of metrics") as caught:
        read_metrics(path)
    assert "\n" not in str(caught.value)
