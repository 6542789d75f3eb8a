"""Tables of trainings: a training by `train.py` is a row of a CSV file, and what the file has is not trained again.

Each row has the settings that repeat it. So a table can be stopped and begun again, on another machine too if it has
the file; what was cut short goes on from its checkpoint.
"""

import argparse
import csv
import hashlib
import math
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from capsnet.cli.program import INTERRUPTED
from capsnet.errors import CheckpointError
from capsnet.runs.folder import RECORD_FILE
from capsnet.runs.record import completed_record

REPO = Path(__file__).parents[1]
RECORDED = ("parameters", "epochs", "train_seconds", "train_images_per_second", "device", "precision", "git_commit")
FULL_PRECISION = "trainer.precision=32-true"
"""Unless another is given: `auto` may choose another one for each row."""
STOPPED = (INTERRUPTED, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a training that a signal has ended; the last two, before it began."""

Row = dict[str, Any]
Planned = Iterable[tuple[Row, list[str]]]
"""Names and settings of each training."""


def main(
    parser: argparse.ArgumentParser,
    planned: Callable[[argparse.Namespace], Planned],
    names: Sequence[str],
    scores: dict[str, str],
) -> None:
    """Train what is planned, and print the table. See `Trainings`."""
    arguments = parse(parser)
    trainings = Trainings(arguments, names, scores)
    trainings.run(planned(arguments))
    print(trainings.table(arguments.control))


def parser_of(description: str, out: str, control: str) -> argparse.ArgumentParser:
    """The arguments that all such programs have."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="KEY=VALUE anywhere: further settings of every training, such as trainer=gpu",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after these; call again to go on")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the trainings")
    parser.add_argument("--csv", type=Path, help="file of the rows; by default rows.csv in --out")
    parser.add_argument("--root", type=Path, help="folder of the data, for a dataset that has one")
    parser.add_argument("--table", action="store_true", help="train nothing; print the table of the file's rows")
    parser.add_argument("--control", default=control, help="the row that others are compared with")
    return parser


def parse(parser: argparse.ArgumentParser, given: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; `more` has the settings among them."""
    given = sys.argv[1:] if given is None else given
    settings = [one for one in given if "=" in one and not one.startswith("-")]
    return parser.parse_args([one for one in given if one not in settings], argparse.Namespace(more=settings))


class Trainings:
    """The rows of a CSV file, and the trainings that they come from.

    Args:
        arguments: of `parse`.
        names: columns that say what was trained, such as ("network", "seed").
        scores: further columns, and the metric that each has, such as test/accuracy. Where a run has no such metric,
            the column is empty.
    """

    def __init__(self, arguments: argparse.Namespace, names: Sequence[str], scores: dict[str, str]):
        self.arguments = arguments
        self.folder: Path = arguments.out.resolve()
        self.path: Path = arguments.csv or self.folder / "rows.csv"
        self.names, self.scores = names, scores
        self.columns = [*names, *scores, *RECORDED, "date", "settings"]

    def rows(self) -> list[Row]:
        """The rows of the file. One that two programs have trained at once counts once."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != self.columns:
                raise SystemExit(f"{self.path}: has other columns; give another --csv")
            return list({row["settings"]: row for row in reader}.values())

    def run(self, planned: Planned) -> None:
        """Train what is not in the file yet, until there is no time left. If one fails, the others are trained still.

        Raises:
            SystemExit: a training failed, or Ctrl-C ended one.
        """
        if self.arguments.table:
            return
        deadline, failed = time.monotonic() + self.arguments.seconds, []
        for names, own in tqdm(list(planned), disable=None):
            settings = [*own, *self.arguments.more]
            settings += [] if any(one.startswith("trainer.precision=") for one in settings) else [FULL_PRECISION]
            written = " ".join(settings).replace(f"{REPO}/", "")
            if any(row["settings"] == written for row in self.rows()):
                continue
            name = "_".join(re.sub(r"[^\w.-]+", "_", str(value)) for value in names.values())
            folder = self.folder / f"{name}_{hashlib.sha256(written.encode()).hexdigest()[:8]}"
            root = [f"data.root={self.arguments.root.resolve()}"] if self.arguments.root else []
            code = train(folder, [*settings, *root], deadline)
            if (record := record_of(folder)) is not None:
                self._add(names, written, record)
            elif code in (0, *STOPPED):
                print("out of time: call this again to go on")
                return
            else:
                failed.append(f"{written}: see the message above, or train.log in {folder}")
        if failed:
            raise SystemExit("\n".join(["these failed:", *failed]))

    def _add(self, names: Row, settings: str, record: Row) -> None:
        scores = {name: record["metrics"].get(metric) for name, metric in self.scores.items()}
        commit = f"{(record['git_commit'] or '')[:7]}{'+' if record['git_dirty'] else ''}"
        about = {name: record[name] for name in RECORDED} | {"git_commit": commit}
        row = {**names, **scores, **about, "date": date.today(), "settings": settings}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow({key: rounded(value) for key, value in row.items()})
        shown = [f"{name} {value:.4f}" for name, value in scores.items() if value is not None]
        tqdm.write(", ".join([*map(str, names.values()), *shown]))

    def table(self, control: str | None = None) -> str:
        """Mean and standard deviation over the seeds, in Markdown.

        Args:
            control: first name of a row, with which the other rows are compared, paired by seed: mean and standard
                error of the differences, see `difference`.
        """
        what = [name for name in self.names if name != "seed"]
        groups: dict[tuple[str, ...], dict[str, Row]] = {}
        for row in self.rows():
            seeds = groups.setdefault(tuple(row[name] for name in (*what, "epochs", "precision")), {})
            if row["seed"] in seeds:
                raise SystemExit(
                    f"{self.path}: {row[what[0]]} with seed {row['seed']} was trained with different settings;"
                    " give each of them a --csv of its own"
                )
            seeds[row["seed"]] = row
        heads = [*what, "epochs", "precision", "parameters", "seeds"]
        for score in self.scores:
            heads += [score, f"minus {control}"] if control else [score]
        lines = [heads, ["---"] * len(heads)]
        for key, seeds in groups.items():
            others = groups.get((control or "", *key[1:]), {})
            cells = [*key, f"{int(next(iter(seeds.values()))['parameters']):,}", str(len(seeds))]
            for score in self.scores:
                cells.append(spread(seeds.values(), score))
                cells += [difference(seeds, {} if seeds is others else others, score)] if control else []
            lines.append(cells)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def train(folder: Path, settings: list[str], deadline: float) -> int:
    """Train in a folder, or go on with a training that was cut short there; gives the exit code.

    Raises:
        SystemExit: Ctrl-C, after the training has ended by it.
    """
    if record_of(folder) is not None or time.monotonic() > deadline:
        return 0
    begun = (folder / RECORD_FILE).exists()
    plugins = [one for one in settings if one.startswith("plugin=")]
    given = [f"resume={folder}", *plugins] if begun else [*settings, "figures=false", f"hydra.run.dir={folder}"]
    process = subprocess.Popen([sys.executable, REPO / "train.py", *given], stdout=subprocess.DEVNULL)
    try:
        return process.wait(None if math.isinf(deadline) else max(0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.terminate()
        return process.wait()
    except KeyboardInterrupt:  # which the training has got, too
        process.wait()
        raise SystemExit(INTERRUPTED) from None


def record_of(folder: Path) -> Row | None:
    """The record of a run that was trained to its end."""
    try:
        return completed_record(folder)
    except CheckpointError:
        return None


def rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def is_share(score: str) -> bool:
    """Is it shown in percent, as all scores are but losses?"""
    return not score.endswith("loss")


def spread(rows: Iterable[Row], score: str) -> str:
    """Mean and standard deviation."""
    values = [float(row[score]) for row in rows if row[score]]
    form = "{:.2%}".format if is_share(score) else "{:.4f}".format
    parts = [form(statistics.mean(values))] if values else ["-"]
    parts += [form(statistics.stdev(values))] if len(values) > 1 else []
    return " ± ".join(parts)


def difference(rows: dict[str, Row], others: dict[str, Row], score: str) -> str:
    """Mean of the differences of seeds that both have, of shares in points, and in brackets its standard error."""
    pairs = [(row[score], others[seed][score]) for seed, row in rows.items() if seed in others]
    unit, digits = (100, 2) if is_share(score) else (1, 4)
    differences = [unit * (float(one) - float(other)) for one, other in pairs if one and other]
    if not differences:
        return "-"
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else None
    return f"{statistics.mean(differences):+.{digits}f}" + ("" if error is None else f" ({error:.{digits}f})")
