"""Your own images, with their classes in a table instead of in the names of folders."""

import csv
import io
import math
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import DataError
from ..files import user_path
from ..text import printable
from .folder import TEST_SIZE, Folder
from .picture_files import OTHER_NAMES, PARTS, PictureFile, is_below, state_of
from .pictures import has_picture_name

DELIMITERS = ",;\t"
SPLIT_COLUMN = "split"  # the only one that may be missing
WHOLE = re.compile(r"[+-]?\d+")
LARGEST = 2**63 - 1  # of extras


class Row(NamedTuple):
    """A row of a table."""

    line: int
    """In which it is, from 1."""
    file: str
    class_name: str
    part: str
    """train, val or test; empty if the table does not say."""
    group: str
    """Images that stay together have the same; empty if the table does not say."""
    extras: tuple[float, ...] = ()
    """Of the columns that were asked for; whole numbers are int."""


class Table(Folder):
    """Images that a CSV file lists, a row for each: its file, its class and, if you like, its part.

    Everything else is as for `Folder`: without a part for test, test images are held out.

    Args:
        labels: the CSV file, in UTF-8, with commas, semicolons or tabs, and names of the columns in its first row.
        root: the folder that the files' names are in; None: that of the CSV file. A name may leave out its ending.
        file_column, label_column, split_column: names of the columns.
        group_column: name of a column; images in whose rows it has the same value stay together. None: see `group`.
        extra_columns: names of columns with numbers, which losses and metrics get as `targets.extras`.
        test_size, image_size, channels, skip_broken, group, cache: as of `Folder`.
    """

    advice_on_classes = ""

    def __init__(
        self,
        labels: str,
        root: str | None = None,
        file_column: str = "file",
        label_column: str = "label",
        split_column: str = SPLIT_COLUMN,
        group_column: str | None = None,
        extra_columns: Sequence[str] = (),
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
        self.columns = {"file_column": file_column, "label_column": label_column, "split_column": split_column}
        if group_column is not None:
            self.columns["group_column"] = group_column
        self.extra_columns = list(extra_columns)
        self._rows: dict[str, Row] = {}

    def _find(self) -> list[PictureFile]:
        if not self.root.is_dir():
            raise DataError(f"data.root={self.root}: there is no such folder")
        seen: dict[str, Row] = {}
        for row in read_table(self.labels, self.columns, self.extra_columns):
            before = seen.setdefault(row.file, row)
            if before[1:] != row[1:]:
                raise DataError(
                    f"{self.labels}: line {row.line}: {printable(row.file)} is in line {before.line} already"
                )
        inside, plain_names, files = os.path.realpath(self.root), cache(_plain_names), []
        for row in seen.values():
            path = _existing_file(self.root, row.file, plain_names)
            name = os.path.relpath(path, self.root)
            leads_outside = not is_below(str(path), inside)
            files.append(PictureFile(row.part, row.class_name, name, state_of(path), leads_outside, name))
            self._rows[name] = row
        if any(file.part for file in files):
            files = [file._replace(part=file.part or "train") for file in files]
            if not self._network_wants and not any(file.part == "train" for file in files):
                raise DataError(f"{self.labels}: lists no images for training")
        return files

    def _origin(self) -> str:
        return f"{super()._origin()}\n{os.path.realpath(self.labels)}"

    def _where(self, file: PictureFile) -> str:
        row = self._rows[file.name]
        return f"{self.labels}: line {row.line}: {row.class_name}"

    def _group_setting(self) -> str | None:
        column = self.columns.get("group_column")
        return super()._group_setting() if column is None else f"data.group_column={column}"

    def _extras(self, files: Sequence[PictureFile]) -> dict[str, Tensor]:
        extras = {}
        for place, name in enumerate(self.extra_columns):
            whole = all(isinstance(row.extras[place], int) for row in self._rows.values())  # in every part, then
            numbers = [self._rows[file.name].extras[place] for file in files]
            extras[name] = torch.tensor(numbers, dtype=torch.int64 if whole else torch.float32)
        return extras

    def _group_of(self, file: PictureFile) -> str:
        return self._rows[file.name].group if "group_column" in self.columns else super()._group_of(file)


def _existing_file(root: Path, name: str, plain_names: Callable[[Path], dict[str, str]]) -> Path:
    """The path of a file that a table names, perhaps without its ending, or a little differently; or if there is none,
    as it would be."""
    path = root / name
    if not path.exists() and "\\" in name:
        path = root / name.replace("\\", "/")  # from Windows
    return path if path.exists() else path.with_name(plain_names(path.parent).get(_plain(path.name), path.name))


def _plain_names(folder: Path) -> dict[str, str]:
    """Files in a folder by their plain names, of pictures also without their ending."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    without_ending = {_plain(Path(name).stem): name for name in names if has_picture_name(name)}
    return without_ending | {_plain(name): name for name in names}


def _plain(name: str) -> str:
    """A name as file systems compare it: without regard to case, and to how é is put together."""
    return unicodedata.normalize("NFC", name).casefold()


def read_table(path: Path, columns: dict[str, str], extra_columns: Sequence[str] = ()) -> list[Row]:
    """The rows of a table.

    Args:
        path: of the CSV file.
        columns: names of the columns, by the setting that names them: file_column, label_column, split_column and
            perhaps group_column. There need be no column `SPLIT_COLUMN`.
        extra_columns: names of columns with numbers.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row lacks a value or has one too many.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"data.labels={path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"data.labels={path}: is not UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    lines = text.splitlines(keepends=True)
    first = next((place for place, line in enumerate(lines) if line.strip() and not line.startswith("sep=")), 0)
    head = lines[first] if lines else ""
    delimiter = max(DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO("".join(lines[first:])), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows = []
    try:
        names = [name.strip() for name in next(reader, [])]
        places = _places(path, names, columns)
        extras = _extra_places(path, names, extra_columns)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                row = _row(path, first + reader.line_num, cells, len(names), places, columns)
                numbers = (_number(path, row.line, cells, names[place], place) for place in extras)
                rows.append(row._replace(extras=tuple(numbers)))
    except csv.Error as error:
        raise DataError(f"{path}: line {first + reader.line_num}: is no CSV ({error}); look at its quotes") from error
    if not rows:
        raise DataError(f"{path}: lists no images")
    return rows


def _places_of(names: Sequence[str]) -> dict[str, int]:
    """The place of each column by its name in lower case; of two with the same name, the first."""
    return {name.casefold(): place for place, name in reversed(list(enumerate(names)))}


def _places(path: Path, names: Sequence[str], columns: dict[str, str]) -> dict[str, int]:
    """Which column is which, by the setting that names it."""
    known = _places_of(names)
    places = {key: known[name.casefold()] for key, name in columns.items() if name.casefold() in known}
    for key, name in columns.items():
        if key not in places and (key, name) != ("split_column", SPLIT_COLUMN):
            there = ", ".join(map(printable, names)) or "nothing"
            raise DataError(f"{path}: has no column {name}, but {there}; set data.{key}=NAME")
    return places


def _extra_places(path: Path, names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Which columns these are."""
    known = _places_of(names)
    for name in wanted:
        if name.casefold() not in known:
            there = ", ".join(map(printable, names)) or "nothing"
            raise DataError(f"data.extra_columns={name}: {path} has no such column, but {there}")
    return [known[name.casefold()] for name in wanted]


def _number(path: Path, line: int, cells: Sequence[str], name: str, place: int) -> float:
    text = cells[place].strip() if place < len(cells) else ""
    try:
        number = int(text) if WHOLE.fullmatch(text) else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise DataError(f"{path}: line {line}: {printable(name)} is {printable(text) or 'empty'}, no number that fits")
    return number


def _row(
    path: Path, line: int, cells: Sequence[str], width: int, places: dict[str, int], columns: dict[str, str]
) -> Row:
    if any(cell.strip() for cell in cells[width:]):
        raise DataError(
            f"{path}: line {line}: has {len(cells)} values for {width} columns; put quotes around a value with a comma"
        )
    values = {key: cells[place].strip() if place < len(cells) else "" for key, place in places.items()}
    for key in ("file_column", "label_column"):
        if not values[key]:
            raise DataError(f"{path}: line {line}: has no {columns[key]}")
    given = values.get("split_column", "")
    part = OTHER_NAMES.get(given.lower(), given.lower())
    if part and part not in PARTS:
        raise DataError(f"{path}: line {line}: {columns['split_column']} is {printable(given)}, not train, val or test")
    class_name = printable(unicodedata.normalize("NFC", values["label_column"]))
    return Row(line, values["file_column"], class_name, part, values.get("group_column", ""))
