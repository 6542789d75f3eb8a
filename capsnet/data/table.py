"""Your own images, with their classes in a table instead of in the names of folders."""

import csv
import io
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..files import user_path
from ..text import printable
from .folder import TEST_SIZE, Folder
from .picture_files import OTHER_NAMES, PARTS, PictureFile, is_below, state_of
from .pictures import SUFFIXES

DELIMITERS = ",;\t"


class Table(Folder):
    """Images that a CSV file lists, a row for each: its file, its class and, if you like, its part.

    Everything else is as for `Folder`: without a part for test, test images are held out.

    Args:
        labels: the CSV file, in UTF-8, with commas, semicolons or tabs, and names of the columns in its first row.
        root: the folder that the files' names are in; None: that of the CSV file. A name may leave out its ending.
        file_column, label_column, split_column: names of the columns.
        test_size, image_size, channels, skip_broken, group, cache: as of `Folder`.
    """

    def __init__(
        self,
        labels: str,
        root: str | None = None,
        file_column: str = "file",
        label_column: str = "label",
        split_column: str = "split",
        test_size: float = TEST_SIZE,
        image_size: int | None = None,
        channels: int | None = None,
        skip_broken: bool = False,
        group: str | None = None,
        cache: str | None = "auto",
    ):
        self.labels = user_path(labels)
        folder = str(self.labels.parent) if root is None else root
        super().__init__(folder, test_size, image_size, channels, skip_broken, group, cache)
        self.title = printable(self.labels.stem)
        self.columns = file_column, label_column, split_column

    def _find(self) -> list[PictureFile]:
        rows = read_table(self.labels, self.columns)
        inside, files = os.path.realpath(self.root), []
        seen: dict[str, int] = {}
        for line, (name, class_name, part) in rows:
            if name in seen:
                raise DataError(f"{self.labels}: line {line}: {printable(name)} is in line {seen[name]} already")
            seen[name] = line
            path = _with_ending(self.root / name)
            leads_outside = not is_below(str(path), inside)
            below = os.path.relpath(path, self.root) if Path(name).is_absolute() else str(path.relative_to(self.root))
            class_name = printable(unicodedata.normalize("NFC", class_name))
            files.append(PictureFile(part, class_name, below, state_of(path), leads_outside, below))
        if any(file.part for file in files):
            files = [file._replace(part=file.part or "train") for file in files]
        return files


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, tuple[str, str, str]]]:
    """File, class and part of each row, with the number of its line. The part is empty if there is none.

    Args:
        path: of the CSV file.
        columns: names of the columns with file, class and part; there need be none for the part.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row lacks a value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"data.labels={path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"data.labels={path}: is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(DELIMITERS, key=head.count))
    names = [name.strip() for name in next(reader, [])]
    places = [names.index(name) if name in names else None for name in columns]
    for key, name, place in zip(("file_column", "label_column"), columns, places, strict=False):
        if place is None:
            there = ", ".join(map(printable, names)) or "nothing"
            raise DataError(f"{path}: has no column {name}, but {there}; set data.{key}=NAME")
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        line = reader.line_num
        values = ["" if place is None or place >= len(cells) else cells[place].strip() for place in places]
        if not values[0] or not values[1]:
            raise DataError(f"{path}: line {line}: has no {columns[0] if not values[0] else columns[1]}")
        part = OTHER_NAMES.get(values[2].lower(), values[2].lower())
        if part and part not in PARTS:
            raise DataError(f"{path}: line {line}: {columns[2]} is {printable(values[2])}, not train, val or test")
        rows.append((line, (values[0], values[1], part)))
    if not rows:
        raise DataError(f"{path}: lists no images")
    return rows


def _with_ending(path: Path) -> Path:
    """The file itself, or the one whose name only lacks the ending in the table."""
    if path.exists():
        return path
    named = (path.with_name(path.name + suffix) for suffix in sorted(SUFFIXES))
    return next((other for other in named if other.exists()), path)
