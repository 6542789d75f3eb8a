"""Numbers, lists and paths as people read them in a terminal."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

MOST_NAMED = 5  # things in a message


def percent(value: float | None) -> str:
    """A fraction as a percentage, or a dash for None."""
    return "-" if value is None else f"{value:.2%}"


def shown(name: str, value: float | None) -> str:
    """A measured number as people read it: a share as a percentage, a loss or anything above 1 as a number."""
    if value is None:
        return "-"
    return f"{value:.2%}" if is_share(name, [value]) else f"{value:.4g}"


def is_share(name: str, values: Iterable[float]) -> bool:
    """Are these values of a metric read as percentages? A record does not say, so all in [0, 1] are, but for losses."""
    no_share = is_loss(name) or name.rpartition("/")[2] in NUMBERS
    return not no_share and all(0 <= value <= 1 for value in values)


def is_loss(name: str) -> bool:
    """Is it what a loss or one of its parts is called?"""
    return name.endswith(("loss", "cross_entropy", "error"))


NUMBERS: set[str] = set()
"""Metrics of the plugin that are best if they are low, such as an angle: never read as percentages."""


def whole(value: float | None) -> str:
    """A number rounded to a whole one, or a dash for None."""
    return "-" if value is None else f"{value:,.0f}"


def counted(count: int, thing: str) -> str:
    """3 epochs, 1 epoch."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """8.1 s, 12 min 40 s, 3 h 5 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def aligned(rows: dict[str, str]) -> str:
    """Names and values in two columns, a line each."""
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())


def columns(rows: Sequence[Sequence[str]]) -> str:
    """A table, a line for each row; all columns are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def left_columns(rows: Sequence[Sequence[str]]) -> str:
    """A table, a line for each row; all columns are aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def either(names: Iterable[str]) -> str:
    """a, b or c."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def first_names(names: Sequence[str]) -> str:
    """The first of many names, safe to print, and how many more there are."""
    shown = ", ".join(map(printable, names[:MOST_NAMED]))
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED:,} more"


def relative(path: Path) -> str:
    """A path as you would type it from the current folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def on_one_line(error: Exception) -> str:
    """Another library's error message without its line breaks."""
    return " ".join(str(error).split())


def printable(text: str) -> str:
    """Text from elsewhere, safe to print: characters that would move the cursor or break the line are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
