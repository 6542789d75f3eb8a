"""Classify pictures with a trained network.

  python -m capsnet.predict RUN PICTURE_OR_FOLDER...     a table: file, class, score, second choice

RUN is the folder of a run, a checkpoint file, or kmnist_7k, a model that comes with the project. Of a folder, all
pictures in it and below it are classified.

  --json           print JSON instead: a list with an object for each file
  --csv FILE       write a table for spreadsheets and programs, too
  --all            the scores of all classes, in the table, in JSON and in the CSV file
  --least SCORE    what scores less in every class, such as --least 0.5, is "none of them"
  --invert         swap light and dark
  plugin=FILE.py   options from a file of your own, if the run was trained with it

A file that cannot be read gets a row that says why, and the exit code is then 1.
"""

import argparse
import contextlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capsnet.cli.program import run_program, start_logging
from capsnet.cli.run_parser import RunParser
from capsnet.errors import ConfigError, DataError
from capsnet.files import write_csv
from capsnet.text import counted, printable, relative

if TYPE_CHECKING:  # loads torch
    from capsnet.runs.trained import TrainedModel

UNREADABLE = 1  # exit code


@dataclass
class Row:
    """What is said about one file."""

    file: str
    class_name: str | None = None
    score: float | None = None
    second_class: str | None = None
    second_score: float | None = None
    looks_inverted: bool = False
    """Against the training images."""
    error: str | None = None
    """Why the file cannot be read."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of all classes."""
    none_of_them: bool = False
    """No class scores as much as it should; there is then no class."""

    def record(self, all_scores: bool = False) -> dict[str, Any]:
        """For programs."""
        named = {"class" if key == "class_name" else key: value for key, value in asdict(self).items()}
        return named if all_scores else {key: value for key, value in named.items() if key != "scores"}

    def cells(self, class_names: Sequence[str]) -> dict[str, Any]:
        """For a spreadsheet, with the scores of these classes."""
        return self.record() | {f"score of {name}": self.scores.get(name) for name in class_names}


def main() -> None:
    arguments = _parse(sys.argv[1:])
    files = [file for given in arguments.pictures for file in picture_files(given)]
    if arguments.json:
        logging.basicConfig(format="%(message)s")  # warnings go to standard error
    else:
        start_logging()
    from capsnet.runs.trained import load  # loads torch, so only if the arguments are right

    model = load(arguments.run, arguments.plugin)
    rows = list(predict(model, files, arguments.invert, arguments.least))
    if arguments.csv:
        names = model.class_names if arguments.all else ()
        write_csv(arguments.csv, list(Row("").cells(names)), [row.cells(names) for row in rows], for_spreadsheets=True)
    if arguments.json:
        print(json.dumps([row.record(arguments.all) for row in rows], indent=1, ensure_ascii=False))
    else:
        print(_table(rows, arguments.all))
    notes = _notes(rows, arguments, model.class_names)
    print("\n" + "\n".join(notes), file=sys.stderr if arguments.json else sys.stdout)
    if any(row.error for row in rows):
        sys.exit(UNREADABLE)


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = RunParser("capsnet.predict", __doc__)
    parser.add_argument("pictures", metavar="PICTURE_OR_FOLDER", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--csv", metavar="FILE", type=Path)
    parser.add_argument("--invert", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--least", metavar="SCORE", type=float, default=0.0)
    arguments = parser.parse(given)
    if arguments.csv:
        _check_csv(arguments.csv)
    if not 0 <= arguments.least <= 1:
        raise ConfigError(f"--least {arguments.least:g}: must be from 0 to 1, as scores are")
    return arguments


def _check_csv(path: Path) -> None:
    """Raise ConfigError if a file cannot be written there, before all pictures are read for nothing."""
    if not path.parent.is_dir():
        raise ConfigError(f"--csv {path}: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise ConfigError(f"--csv {path}: is {'a folder' if path.is_dir() else 'not a regular file'}; name a file")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--csv {path}: {path.parent} cannot be written")


def picture_files(given: Path) -> list[Path]:
    """A file itself, or all pictures in a folder and below it, in natural order. Raises DataError if there are none."""
    if not given.is_dir():
        return [given]
    from capsnet.data.folder import is_hidden, natural_order
    from capsnet.data.pictures import is_picture

    found = []
    for folder, inner, names in os.walk(given):
        inner[:] = [name for name in inner if not is_hidden(name)]
        found += [path for name in names if not is_hidden(name) and is_picture(path := Path(folder, name))]
    if not found:
        raise DataError(f"{given}: has no pictures")
    return sorted(found, key=lambda path: [natural_order(part) for part in path.parts])


def predict(model: "TrainedModel", files: Sequence[Path], invert: bool = False, least: float = 0.0) -> Iterator[Row]:
    """A row for each file, in their order. Files are read in parallel, and classified in batches.

    Args:
        model: classifies them.
        files: to be read.
        invert: swap light and dark.
        least: score below which a picture is none of the classes.
    """
    from capsnet.data.parallel import in_parallel
    from capsnet.data.pictures import pixels_or_reason
    from capsnet.runs.trained import BATCH

    channels, height, width = model.image_shape
    read = partial(pixels_or_reason, height=height, width=width, channels=channels, ranges=model.ranges)
    with contextlib.closing(in_parallel(read, files, "classifying")) as found:
        results = zip(files, found, strict=True)
        while batch := list(itertools.islice(results, BATCH)):
            yield from _classified(model, batch, invert, least)


def _classified(model: "TrainedModel", batch: Sequence[tuple[Path, Any]], invert: bool, least: float) -> Iterator[Row]:
    """Rows of files, each with its pixels or the reason why it cannot be read."""
    import numpy as np
    import torch

    pixels = [found ^ 255 if invert else found for _, found in batch if not isinstance(found, str)]
    images = torch.from_numpy(np.stack(pixels)) if pixels else torch.empty(0, *model.image_shape)
    scores = model.classify(images).scores
    best = iter(zip(pixels, scores.tolist(), *(part.tolist() for part in scores.topk(2)), strict=True))
    for path, found in batch:
        if isinstance(found, str):
            yield Row(str(path), error=found)
            continue
        own, of_all, (score, second_score), (label, second) = next(best)
        none, names = score < least, model.class_names
        yield Row(
            *(str(path), None if none else names[label], score, names[second], second_score, model.looks_inverted(own)),
            scores=dict(zip(names, of_all, strict=True)),
            none_of_them=none,
        )


def _table(rows: Sequence[Row], all_scores: bool = False) -> str:
    cells = [("file", "class", "score", "all scores" if all_scores else "second choice", "")]
    for row in rows:
        if row.error:
            cells.append((_shown(row.file), "-", "", "", row.error))
            continue
        second = f"{row.second_class} {row.second_score:.3f}"
        if all_scores:
            second = ", ".join(f"{name} {score:.3f}" for name, score in row.scores.items())
        note = "looks inverted" if row.looks_inverted else ""
        cells.append((_shown(row.file), row.class_name or "none of them", f"{row.score:.3f}", second, note))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = []
    for *padded, last in cells:
        lines.append("  ".join([*(cell.ljust(width) for cell, width in zip(padded, widths, strict=True)), last]))
    return "\n".join(line.rstrip() for line in lines)


def _shown(file: str) -> str:
    return printable(relative(Path(file)))


def _notes(rows: Sequence[Row], arguments: argparse.Namespace, class_names: Sequence[str]) -> list[str]:
    """What is to be said about all files together."""
    classified = [row for row in rows if not row.error]
    notes = [f"{counted(len(classified), 'picture')} classified"]
    if broken := len(rows) - len(classified):
        notes[0] += f", {counted(broken, 'file')} not readable"
    folders = [Path(row.file).absolute().parent.name for row in classified]
    if classified and set(folders) <= set(class_names):
        right = sum(folder == row.class_name for folder, row in zip(folders, classified, strict=True))
        notes.append(f"{right / len(classified):.2%} of them, {right:,}, are in the folder of their class")
    if none := sum(row.none_of_them for row in rows):
        notes.append(f"{none:,} of them are none of the classes: no score is {arguments.least:g} or more")
    if inverted := sum(row.looks_inverted for row in rows):
        notes.append(f"{inverted:,} with light and dark the other way round than in the training images; try --invert")
    if arguments.csv:
        notes.append(f"written to {relative(arguments.csv)}")
    return notes


if __name__ == "__main__":
    run_program(main)
