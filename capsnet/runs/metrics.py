"""Every epoch's metrics, metrics.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError
from ..files import write_csv


def write_metrics(path: Path, columns: Sequence[str], rows: Sequence[dict[str, float]]) -> None:
    """Write the whole table; without rows, remove it. What was not measured in an epoch stays empty.

    Args:
        path: of metrics.csv.
        columns: in order.
        rows: values by column, one row per epoch.
    """
    if not rows:
        path.unlink(missing_ok=True)
        return
    write_csv(path, columns, rows)


def read_metrics(path: Path) -> dict[str, list[float]]:
    """metrics.csv by column. A value that was not measured in an epoch is NaN. Empty if there is no file.

    Raises:
        CheckpointError: the file is not a table of numbers.
    """
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = {key: [float(row[key] or "nan") for row in rows] for key in (rows[0] if rows else {})}
        if columns and "epoch" not in columns:
            raise ValueError("no column epoch")
        return columns
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a readable table of metrics ({error}); remove it to continue without it"
        ) from error
