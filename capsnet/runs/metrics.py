"""Every epoch's metrics, metrics.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError
from ..files import atomic_write


def append_metrics(path: Path, columns: Sequence[str], row: dict[str, float]) -> None:
    """Add an epoch's row. What was not measured stays empty.

    Args:
        path: of metrics.csv.
        columns: in order; used if the file does not exist yet.
        row: values by column.
    """
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def truncate_metrics(path: Path, epochs: int) -> None:
    """Keep only the rows of the first `epochs` epochs: a resumed run trains the later ones again."""
    if not path.exists():
        return
    head, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    kept = [row for row in rows if row.split(",")[0].isdigit() and int(row.split(",")[0]) <= epochs]
    if not kept:
        path.unlink()
        return
    with atomic_write(path) as draft:
        draft.write_text("".join([head, *kept]), encoding="utf-8")


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
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise CheckpointError(
            f"{path}: not a readable table of metrics ({error}); remove it to continue without it"
        ) from error
