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

from report import print_headline
from tqdm import tqdm

from capsnet.cli.program import INTERRUPTED
from capsnet.files import read_json
from capsnet.runs.folder import RECORD_FILE

REPO = Path(__file__).parents[1]
RECORDED = ("parameters", "epochs", "train_seconds", "train_images_per_second", "device", "precision", "git_commit")

Row = dict[str, Any]


def parser_of(description: str, out: str) -> argparse.ArgumentParser:
    """The arguments that all such programs have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after these; call again to go on")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the trainings")
    parser.add_argument("--csv", type=Path, help="file of the rows; by default rows.csv in --out")
    parser.add_argument("--table", action="store_true", help="train nothing; print the table of the file's rows")
    parser.add_argument("more", nargs="*", help="further settings for every training, such as trainer=gpu")
    return parser


class Trainings:
    """The rows of a CSV file, and the trainings that they come from.

    Args:
        arguments: of `parser_of`.
        names: columns that say what was trained, such as ("network", "seed").
        scores: further columns, and what each takes from a run's record; None if it has nothing.
    """

    def __init__(
        self, arguments: argparse.Namespace, names: Sequence[str], scores: dict[str, Callable[[Row], float | None]]
    ):
        self.folder: Path = arguments.out.resolve()
        self.path: Path = arguments.csv or self.folder / "rows.csv"
        self.deadline = time.monotonic() + arguments.seconds
        self.names, self.scores = names, scores
        self.columns = [*names, *scores, *RECORDED, "date", "settings"]

    def rows(self) -> list[Row]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def run(self, planned: Iterable[tuple[Row, list[str]]]) -> None:
        """Train what is not in the file yet, until there is no time left.

        Args:
            planned: names and settings of each training. The row leaves out data.root, which depends on the machine.
        """
        print_headline("cpu")
        for names, settings in tqdm(list(planned), disable=None):
            chosen = " ".join(one for one in settings if not one.startswith("data.root=")).replace(f"{REPO}/", "")
            if any(row["settings"] == chosen for row in self.rows()):
                continue
            name = "_".join(re.sub(r"[^\w.-]+", "_", str(value)) for value in names.values())
            folder = self.folder / f"{name}_{hashlib.sha256(chosen.encode()).hexdigest()[:8]}"
            record = train(folder, settings, self.deadline)
            if record is None:
                print("out of time: call this again to go on")
                return
            found = {name: score(record) for name, score in self.scores.items()}
            self.add({**names, **found, "date": date.today(), "settings": chosen}, record)
            shown = [f"{name} {value:.4f}" for name, value in found.items() if value is not None]
            tqdm.write(", ".join([*map(str, names.values()), *shown]))

    def add(self, row: Row, record: Row) -> None:
        row |= {name: record[name] for name in RECORDED} | {"git_commit": (record["git_commit"] or "")[:7]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow({key: rounded(value) for key, value in row.items()})

    def table(self, control: str | None = None) -> str:
        """Mean and standard deviation over the seeds, in Markdown.

        Args:
            control: first name of a row. The first score of every other row is compared with that of this one, paired
                by seed: mean and standard error of the difference, in points.
        """
        what = [name for name in self.names if name != "seed"]
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows():
            groups.setdefault((*(row[name] for name in what), row["epochs"]), []).append(row)
        first = next(iter(self.scores))
        heads = [*what, "epochs", "parameters", "seeds", *self.scores]
        heads += [f"{first}, minus {control}"] if control else []
        lines = [heads, ["---"] * len(heads)]
        for key, rows in groups.items():
            cells = [*key, f"{int(rows[0]['parameters']):,}", str(len(rows))]
            cells += [spread([float(row[score]) for row in rows if row[score]], score) for score in self.scores]
            if control:
                others = groups.get((control, *key[1:]), []) if key[0] != control else []
                cells.append(difference(rows, others, first))
            lines.append(cells)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def train(folder: Path, settings: list[str], deadline: float) -> Row | None:
    """Train, or go on with a training; gives its record, or None if there was no time to complete it."""
    if not completed(folder) and time.monotonic() < deadline:
        begun = (folder / RECORD_FILE).exists()
        plugins = [one for one in settings if one.startswith("plugin=")]
        given = [f"resume={folder}", *plugins] if begun else [*settings, f"hydra.run.dir={folder}"]
        process = subprocess.Popen([sys.executable, REPO / "train.py", *given], stdout=subprocess.DEVNULL)
        try:
            process.wait(None if math.isinf(deadline) else max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        except KeyboardInterrupt:  # which the training has got, too
            process.wait()
        if process.returncode not in (0, INTERRUPTED):
            raise SystemExit(f"{folder}: the training failed, see train.log there")
    return read_json(folder / RECORD_FILE) if completed(folder) else None


def completed(folder: Path) -> bool:
    return (folder / RECORD_FILE).exists() and read_json(folder / RECORD_FILE)["status"] == "completed"


def rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def spread(values: list[float], score: str) -> str:
    """Mean and standard deviation: of a loss as they are, of other scores in percent."""
    form = "{:.4f}".format if score.endswith("loss") else "{:.2%}".format
    parts = [form(statistics.mean(values))] if values else ["-"]
    parts += [form(statistics.stdev(values))] if len(values) > 1 else []
    return " ± ".join(parts)


def difference(rows: list[Row], others: list[Row], score: str) -> str:
    """Mean of the differences of seeds that both have, in points, and in brackets its standard error."""
    pairs = [(row, other) for row in rows for other in others if row["seed"] == other["seed"]]
    points = [100 * (float(row[score]) - float(other[score])) for row, other in pairs]
    if not points:
        return "-"
    error = f" ({statistics.stdev(points) / math.sqrt(len(points)):.2f})" if len(points) > 1 else ""
    return f"{statistics.mean(points):+.2f}{error}"
