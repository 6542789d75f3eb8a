"""Classify pictures with a trained network.

  python -m capsnet.predict RUN PICTURE_OR_FOLDER...     a table, a line for each picture

RUN is the folder of a run, a checkpoint file, or kmnist_7k, a model that comes with the project. Of a folder, all
pictures in it and below it are classified. The table says what the run's task answers: of one character, its class and
score, and those of the second choice.

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
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capsnet.cli.program import run_program, start_logging
from capsnet.cli.run_parser import RunParser
from capsnet.errors import ConfigError, DataError
from capsnet.files import write_csv
from capsnet.text import counted, left_columns, printable, relative

if TYPE_CHECKING:  # loads torch
    from capsnet.runs.trained import TrainedModel

UNREADABLE = 1  # exit code


@dataclass
class Row:
    """What is said about one file."""

    file: str
    prediction: dict[str, Any] = field(default_factory=dict)
    """By name, see `Task.prediction`; empty if the file cannot be read."""
    looks_inverted: bool = False
    """Against the training images."""
    error: str | None = None
    """Why the file cannot be read."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of all classes."""
    none_of_them: bool = False
    """No class scores as much as it should; the prediction then has no class."""

    def record(self, names: Sequence[str]) -> dict[str, Any]:
        """For programs. `names` are those of a prediction."""
        predicted = {name: self.prediction.get(name) for name in names}
        noted = {"none_of_them": self.none_of_them, "looks_inverted": self.looks_inverted, "error": self.error}
        return {"file": self.file, **predicted, **noted}

    def cells(self, names: Sequence[str], class_names: Sequence[str]) -> dict[str, Any]:
        """For a spreadsheet, with the scores of these classes."""
        return self.record(names) | {f"score of {name}": self.scores.get(name) for name in class_names}


def main() -> None:
    arguments = _parse(sys.argv[1:])
    files = [file for given in arguments.pictures for file in picture_files(given)]
    if arguments.json:
        logging.basicConfig(format="%(message)s")  # warnings go to standard error
    else:
        start_logging()
    from capsnet.runs.trained import load  # loads torch, so only if the arguments are right

    model = load(arguments.run, arguments.plugin)
    model.refuse_pictures()
    rows = list(predict(model, files, arguments.invert, arguments.least))
    names, classes = prediction_names(model), model.class_names if arguments.all else ()
    if arguments.csv:
        header, cells = list(Row("").cells(names, classes)), [row.cells(names, classes) for row in rows]
        write_csv(arguments.csv, header, cells, for_spreadsheets=True)
    if arguments.json:
        records = [row.record(names) | ({"scores": row.scores} if arguments.all else {}) for row in rows]
        print(json.dumps(records, indent=1, ensure_ascii=False))
    else:
        print(_table(rows, names, classes))
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
    if arguments.csv and (arguments.csv.is_dir() or not os.access(arguments.csv.parent, os.W_OK)):
        raise ConfigError(f"--csv {arguments.csv}: cannot be written there; name a file in an existing folder")
    if not 0 <= arguments.least <= 1:
        raise ConfigError(f"--least {arguments.least:g}: must be from 0 to 1, as scores are")
    return arguments


def picture_files(given: Path) -> list[Path]:
    """A file itself, or all pictures in a folder and below it, in natural order. Raises DataError if there are none."""
    if not given.is_dir():
        return [given]
    from capsnet.data.picture_files import is_hidden, natural_order
    from capsnet.data.pictures import is_picture

    pictures = []
    for folder, inner, names in os.walk(given):
        inner[:] = [name for name in inner if not is_hidden(name)]
        pictures += [path for name in names if not is_hidden(name) and is_picture(path := Path(folder, name))]
    if not pictures:
        raise DataError(f"{given}: has no pictures")
    return sorted(pictures, key=lambda path: [natural_order(part) for part in path.parts])


def prediction_names(model: "TrainedModel") -> list[str]:
    """What the model's task says of an image."""
    import torch

    return list(model.task.prediction(torch.zeros(len(model.class_names)), model.class_names))


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
    with contextlib.closing(in_parallel(read, files, "classifying")) as contents:
        results = zip(files, contents, strict=True)
        while batch := list(itertools.islice(results, BATCH)):
            yield from _classified(model, batch, invert, least)


def _classified(model: "TrainedModel", batch: Sequence[tuple[Path, Any]], invert: bool, least: float) -> Iterator[Row]:
    """Rows of files, each with its pixels or the reason why it cannot be read."""
    import numpy as np
    import torch

    pixels = [content ^ 255 if invert else content for _, content in batch if not isinstance(content, str)]
    images = torch.from_numpy(np.stack(pixels)) if pixels else torch.empty(0, *model.image_shape)
    classified = iter(zip(pixels, model.classify(images).scores, strict=True))
    for path, content in batch:
        if isinstance(content, str):
            yield Row(str(path), error=content)
        else:
            own, scores = next(classified)
            prediction, none = model.task.prediction(scores, model.class_names), bool(scores.max() < least)
            if none:
                prediction[next(iter(prediction))] = None  # what the picture shows
            for name in [name for name in prediction if name.startswith("class_")]:  # one of several
                if prediction.get(name.replace("class", "score"), least) < least:
                    prediction[name] = None
            of_all = dict(zip(model.class_names, scores.tolist(), strict=True))
            yield Row(str(path), prediction, model.looks_inverted(own), scores=of_all, none_of_them=none)


def _table(rows: Sequence[Row], names: Sequence[str], class_names: Sequence[str]) -> str:
    """With the scores of these classes in columns of their own."""
    cells = [["file", *(name.replace("_", " ") for name in names), *class_names, ""]]
    for row in rows:
        values = [row.prediction.get(name, "-" if name == names[0] else "") for name in names]
        values += [row.scores.get(name, "") for name in class_names]
        texts = [
            "none of them" if value is None else f"{value:.3f}" if isinstance(value, float) else value
            for value in values
        ]
        cells.append([_shown(row.file), *texts, row.error or ("looks inverted" if row.looks_inverted else "")])
    return left_columns(cells)


def _shown(file: str) -> str:
    return printable(relative(Path(file)))


def _class_folder(file: Path, given: Sequence[Path], class_names: Sequence[str]) -> str | None:
    """The class in whose folder a file is, directly or in a folder inside it, as far as what was given goes."""
    base = next((base for base in given if base.is_dir() and file.is_relative_to(base)), file.parent)
    folders = [base.absolute().name, *file.relative_to(base).parts[:-1]]
    names = [unicodedata.normalize("NFC", folder) for folder in reversed(folders)]
    return next((name for name in names if name in class_names), None)


def _notes(rows: Sequence[Row], arguments: argparse.Namespace, class_names: Sequence[str]) -> list[str]:
    """What is to be said about all files together."""
    classified = [row for row in rows if not row.error]
    notes = [f"{counted(len(classified), 'picture')} classified"]
    if broken := len(rows) - len(classified):
        notes[0] += f", {counted(broken, 'file')} not readable"
    folders = [_class_folder(Path(row.file), arguments.pictures, class_names) for row in classified]
    if classified and None not in folders and "class" in classified[0].prediction:
        right = sum(folder == row.prediction.get("class") for folder, row in zip(folders, classified, strict=True))
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
