"""Changed records: one thing at a time is changed inside a real run or sweep, which is then continued or scored.

It must be refused in one line with the folder as it was, or give what the unchanged one gives to the last digit, or say
what has changed. A checkpoint whose digest was made to fit again cannot be told from a real one. It must still end
without a traceback, a signal or a result that is not finite.

python tests/campaigns/records.py --count 2000
python tests/campaigns/records.py --seed 0 --case 17      one case again, with all that it prints
"""

import argparse
import contextlib
import csv
import faulthandler
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import yaml
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import run_command, run_in_process, table

import capsnet.reports.evaluation
import capsnet.reports.figures
import capsnet.sweeps.summary
import capsnet.training.run  # noqa: F401 (loaded once, for every case)
from capsnet.runs.checkpoints import DIGEST_KEY, content_digest
from capsnet.training.callbacks import Checkpoints

SECONDS = 60  # that a case may take
# Later epochs hardly learn, so that the best one is not the last.
TRAINING = (
    *("data=digits", "data.limit=120", "data.batch_size=50", "model.conv_channels=4", "model.primary_capsules=2"),
    *("model.class_dim=4", "routing.iters=2", "optimizer.lr=0.003", "optimizer.lr_decay=0.02", "trainer=cpu"),
    *("figures=false", "trainer.max_epochs=4"),
)
OUTCOME = ("status", "epochs", "best_epoch", "val_accuracy", "test_accuracy", "test_loss")
SCORES = ("epoch", "accuracy", "balanced_accuracy", "loss", "per_class_accuracy", "confusion")
REFUSED, SAME, WARNED, FINITE = (
    "refused in one line, the folder unchanged",
    "the same to the last digit",
    "a warning that names what has changed",
    "a digest made to fit: a finite result",
)


class Case(NamedTuple):
    """What is done to which folder, and what is run on it."""

    target: str
    program: str
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        return " ".join((self.program, *self.arguments))


class Change(NamedTuple):
    """What was changed."""

    file: str
    what: str
    digest_fits: bool = False
    """A checkpoint, and its digest was computed again."""


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    """Negative: by that signal."""
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in (self.stdout + "\n" + self.stderr).splitlines() if line.strip()]


CASES = {
    "complete": [
        *[Case("complete", "evaluate.py", ("run=complete", "figures=false"))] * 2,
        Case("complete", "evaluate.py", ("run=complete",)),
        Case("complete", "evaluate.py", ("checkpoint=complete/checkpoints/best.ckpt", "figures=false")),
        Case("complete", "train.py", ("rerun=complete",)),
        Case("complete", "train.py", ("resume=complete",)),
        Case("complete", "train.py", ("resume=complete", "trainer.max_epochs=5")),
    ],
    "interrupted": [
        *[Case("interrupted", "train.py", ("resume=interrupted",))] * 4,
        Case("interrupted", "train.py", ("rerun=interrupted",)),
        Case("interrupted", "evaluate.py", ("run=interrupted", "figures=false")),
    ],
    "young": [Case("young", "train.py", ("resume=young",))],
    "sweep": [
        *[Case("sweep", "capsnet.sweeps", ("sweep",))] * 2,
        Case("sweep", "train.py", ("resume=sweep",)),
        Case("sweep", "evaluate.py", ("run=sweep/0", "figures=false")),
        Case("sweep", "train.py", ("resume=sweep/1",)),
    ],
}
"""By the folder that is changed: a completed run, one that was interrupted in its last epoch, one that was interrupted
in its first, and a sweep that was interrupted in its second job of three."""


# Making the runs, and running programs on them


def make_originals(folder: Path) -> None:
    """The runs and the sweep that are changed later."""

    def make(name: str, *arguments: str, interrupted_at: int = 0, where: str = "hydra.run.dir") -> None:
        with _interrupted_in_epoch(interrupted_at):
            done = run_in_fork(Case(name, "train.py", (*arguments, *TRAINING, f"{where}={name}")), folder)
        assert done.code == (130 if interrupted_at else 0), done

    make("complete", "seed=3")
    make("interrupted", "seed=4", interrupted_at=4)
    make("young", "seed=5", interrupted_at=1)
    make("sweep", "-m", "seed=0,1,2", interrupted_at=4 + 3, where="hydra.sweep.dir")
    (folder / "outside").mkdir()
    for name in ("results.json", "metrics.csv", "train.log"):
        shutil.copy(folder / "complete" / name, folder / "outside" / name)
    shutil.copy(folder / "complete/checkpoints/best.ckpt", folder / "outside")


@contextlib.contextmanager
def _interrupted_in_epoch(number: int) -> Iterator[None]:
    """Ctrl-C at the end of the so-many-th epoch that this process trains from now on, before it is saved."""
    left, save = [number], Checkpoints.on_train_epoch_end

    def counted(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        save(*arguments)

    with mock.patch.object(Checkpoints, "on_train_epoch_end", counted):
        yield


def run_in_fork(case: Case, folder: Path, stop: tuple[int, float] | None = None) -> Ended:
    """Run a program in a copy of this process, which has loaded everything, so that no crash or hang ends this one.

    Args:
        case: the program and its arguments.
        folder: where to run it.
        stop: a signal to send, and after how many seconds.
    """
    result, crash = folder.parent / "ended.json", folder.parent / "crash.txt"
    result.unlink(missing_ok=True)
    if (child := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            printed = os.open(crash, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            faulthandler.enable()
            done = run_in_process(case.program, *case.arguments, cwd=folder)
            result.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
        os._exit(0)
    began = time.monotonic()
    deadline = began + SECONDS
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ended(-signal.SIGALRM, "", f"ended by force after {SECONDS} s")
        if stop is not None and time.monotonic() > began + stop[1]:
            os.kill(child, stop[0])
            stop = None
        time.sleep(0.005)
    if os.WIFSIGNALED(ended[1]) or not result.exists():
        return Ended(-os.WTERMSIG(ended[1]) or -1, "", crash.read_text(errors="replace"))
    return Ended(*json.loads(result.read_text()))


def run_command_line(case: Case, folder: Path) -> Ended:
    done = run_command(case.program, *case.arguments, cwd=folder, timeout=3 * SECONDS)
    return Ended(done.returncode, done.stdout, done.stderr)


# What is in a folder, and what came out


def content_of(folder: Path, locks: bool = False) -> dict[str, str]:
    """Every entry of a folder with a digest; locks only if asked for."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == ".lock" and not locks:
            continue
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "neither file nor folder"
    return found


def outcome_of(case: Case, folder: Path) -> dict[str, Any]:
    """The results that a program has left, without times."""
    if case.program == "evaluate.py":
        report = _json(folder / case.target / ("0" if case.target == "sweep" else "") / "evaluation.json")
        return {key: report.get(key) for key in SCORES}
    if case.program == "capsnet.sweeps":
        return {"sweep.csv": (folder / "sweep/sweep.csv").read_text()}
    runs = [folder / case.arguments[0].partition("=")[2]]
    found: dict[str, Any] = {}
    if case.arguments[0].startswith("rerun"):
        runs = [record.parent for record in (folder / "outputs").rglob("results.json")]
    elif runs[0].name == "sweep":
        with contextlib.suppress(OSError):
            rows = table(folder / "sweep/sweep.csv")
            found["sweep.csv"] = [{key: row[key] for key in row if key != "seconds"} for row in rows]
        runs = [folder / "sweep/1", folder / "sweep/2"]
    for number, run in enumerate(runs):
        record = _json(run / "results.json")
        found[f"record {number}"] = {key: record.get(key) for key in OUTCOME}
        with contextlib.suppress(OSError):
            found[f"metrics {number}"] = (run / "metrics.csv").read_text()
        report = _json(run / "evaluation.json")
        found[f"report {number}"] = {key: report.get(key) for key in SCORES}
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text()) if path.is_file() else {}
        return content if isinstance(content, dict) else {}
    except (ValueError, RecursionError):
        return {}


def statuses(folder: Path) -> dict[str, Any]:
    """The status in every record below a folder."""
    found = {}
    for path in sorted(folder.rglob("results.json")):
        found[str(path.relative_to(folder))] = _json(path).get("status")
    return found


# Changing one thing

WORDS = ("", "x", "null", "../..", "\x00", "\udc80", "²", "a\nb", "${oc.env:HOME}", "completed", "running", "😀" * 50)
DEEP = "@@nested 10,000 deep@@"


def other_value(value: Any, chance: random.Random) -> Any:
    """Something else in place of a plain value."""
    if chance.random() < 0.5:  # nearly the same
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return value + chance.choice((-1, 1, 10, -value, -2 * value - 1))
        if isinstance(value, float):
            return chance.choice((value * 1.01, -value, math.nextafter(value, 2), value + 1, 0.0, -0.0, 1e-300))
        if isinstance(value, str) and value:
            at = chance.randrange(len(value))
            return value[:at] + chance.choice(("", "0", "z", value[at] * 2)) + value[at + 1 :]
    numbers = (0, 1, -1, 2**31, 2**63, 10**400, 0.5, math.inf, -math.inf, math.nan, 1e308)
    return chance.choice((None, True, False, [], {}, [value], {"a": value}, *numbers, *WORDS))


def places(content: Any, at: tuple = ()) -> Iterator[tuple]:
    """The path to every entry of nested dictionaries and lists."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        yield (*at, key)
        yield from places(value, (*at, key))


def change_nested(content: Any, chance: random.Random, other: Callable[[Any, random.Random], Any]) -> str:
    """Change one entry of nested dictionaries and lists in place; says which and how."""
    place = chance.choice(list(places(content)))
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    key, kind = place[-1], chance.choice(("value", "value", "value", "value", "missing", "extra"))
    where = ".".join(map(str, place))
    if kind == "missing":
        del holder[key]
        return f"{where} is missing"
    if kind == "extra":
        extra = other(holder[key], chance)
        if isinstance(holder, list):
            holder.insert(key, extra)
        else:
            holder[chance.choice(("extra", f"{key}_", 7 if other is other_leaf else "7"))] = extra
        return f"an extra entry beside {where}: {extra!r:.80}"
    before, holder[key] = holder[key], other(holder[key], chance)
    return f"{where}: {holder[key]!r:.80} instead of {before!r:.80}"


def other_leaf(value: Any, chance: random.Random) -> Any:
    """Something else in place of an entry of a checkpoint."""
    if not isinstance(value, Tensor):
        odd = (torch.zeros(2), torch.tensor(1.0), b"bytes", 1j, (1, 2))
        return chance.choice(odd) if chance.random() < 0.2 else other_value(value, chance)
    kind = chance.choice(("value", "value", "value", "dtype", "shape", "type"))
    if kind == "value":
        changed = value.clone()
        filling = chance.choice((math.nan, math.inf, -math.inf, 0.0, 1.0, -1.0, 1e38, 1e-30))
        if changed.numel() and chance.random() < 0.7:
            changed.view(-1)[chance.randrange(changed.numel())] = filling
            return changed
        return torch.full_like(changed, filling)
    if kind == "dtype":
        types = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.uint8)
        return value.to(chance.choice(types))
    if kind == "shape":
        shapes = (
            *(value.reshape(-1), value.unsqueeze(0), value.reshape(-1)[:1], value.reshape(-1)[:0], torch.zeros(2)),
            *(torch.zeros(()), torch.zeros(3, 3), torch.cat([value.reshape(-1)] * 2), value.to_sparse()),
        )
        return chance.choice(shapes).clone()
    return chance.choice((None, 0, 1.5, "x", [1.0, 2.0], {}, True, value.reshape(-1)[:3].tolist()))


def change_checkpoint(path: Path, chance: random.Random) -> Change:
    content = torch.load(path, weights_only=True)
    part = chance.choice([*content, None])  # every part as often as the weights, which are many
    holder = content if part is None or not isinstance(content[part], dict | list) or not content[part] else None
    what = change_nested(content if holder is not None else content[part], chance, other_leaf)
    what = what if holder is not None else f"{part}: {what}"
    fits = chance.random() < 0.4
    with contextlib.suppress(RuntimeError):  # a sparse tensor has none
        if fits:
            content[DIGEST_KEY] = content_digest(content)
    torch.save(content, path)
    return Change(path.name, what + (", digest made to fit" if fits else ""), fits)


def change_json(path: Path, chance: random.Random) -> Change:
    content = json.loads(path.read_text())
    if chance.random() < 0.1:
        what, text = "nested 10,000 deep", _with_depth(content, chance)
    else:
        what = change_nested(content, chance, other_value)
        text = json.dumps(content, indent=2, ensure_ascii=chance.random() < 0.5)
    path.write_bytes(text.encode(errors="surrogatepass"))
    return Change(path.name, what)


def change_yaml(path: Path, chance: random.Random) -> Change:
    content = yaml.safe_load(path.read_text())
    if chance.random() < 0.1 or not list(places(content)):
        what, text = "nested 10,000 deep", _with_depth(content, chance)
    else:
        what = change_nested(content, chance, other_value)
        text = yaml.safe_dump(content)
    path.write_text(text)
    return Change(path.name, what)


def _with_depth(content: Any, chance: random.Random) -> str:
    if list(places(content)):
        change_nested(content, chance, lambda *_: DEEP)
    else:
        content = [DEEP]
    opening, closing = chance.choice(("[]", ('{"a":', "}")))
    return json.dumps(content).replace(f'"{DEEP}"', opening * 10_000 + "1" * (opening != "[") + closing * 10_000)


def change_table(path: Path, chance: random.Random) -> Change:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    row = chance.randrange(len(rows))
    column = chance.randrange(len(rows[0]))
    kind = chance.choice(("cell", "cell", "cell", "row missing", "row twice", "column missing", "longer row"))
    what = f"{kind} (row {row}, column {column})"
    if kind == "cell":
        value = other_value(rows[row][column] if row == 0 else float(rows[row][column] or 0), chance)
        rows[row][column] = str(value)
        what += f": {value!r:.80}"
    elif kind == "row missing":
        del rows[row]
    elif kind == "row twice":
        rows.insert(row, rows[row])
    elif kind == "column missing":
        rows = [[*cells[:column], *cells[column + 1 :]] for cells in rows]
    else:
        rows[row] += ["1", "2"]
    with path.open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return Change(path.name, what)


def change_text(path: Path, chance: random.Random) -> Change:
    """Cut off, or with other bytes at one place."""
    whole = path.read_bytes()
    at = chance.randrange(len(whole)) if whole else 0
    kind = chance.choice(("cut", "cut", "cut at a line", "inserted", "one byte"))
    odd = chance.choice((b"\x00", b"\xff", b"\n", b" ", b"}", b'"', b"Infinity", b"9" * 5000, b"\xed\xb2\x80", b","))
    if kind == "cut at a line":
        at = chance.choice([0, *(place for place, byte in enumerate(whole) if byte == 10)]) if len(whole) < 1e6 else at
    changed = {"cut": whole[:at], "cut at a line": whole[: at + 1], "inserted": whole[:at] + odd + whole[at:]}
    path.write_bytes(changed.get(kind, whole[:at] + odd[:1] + whole[at + 1 :]))
    return Change(path.name, f"{kind}, at byte {at}" + (f": {odd[:10]!r}" if "cut" not in kind else ""))


def change_file(path: Path, folder: Path, originals: Path, chance: random.Random) -> Change:
    """Another file, or something that is no file, in its place."""
    names = ("best.ckpt", "last.ckpt") if path.suffix == ".ckpt" else (path.name,)
    others = [other for name in names for other in sorted(originals.rglob(name)) if other.is_file()]
    others = [other for other in others if other.relative_to(originals) != path.relative_to(folder)]
    kinds = ["missing", "empty", "folder", "full folder", "FIFO", "link in", "link out", "link to nowhere", "loop"]
    kind = chance.choice(kinds + ["swapped"] * 6 * bool(others))
    whole = path.read_bytes()
    path.unlink()
    what = kind
    if kind == "empty":
        path.touch()
    elif kind in ("folder", "full folder"):
        path.mkdir()
        if kind == "full folder":
            (path / "file").write_text("somebody's")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link in":
        path.with_name("moved").write_bytes(whole)
        path.symlink_to("moved")
    elif kind == "link out":
        target = folder / "outside" / path.name
        path.symlink_to(target if target.exists() else folder / "outside/best.ckpt")
    elif kind == "link to nowhere":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "swapped":
        other = chance.choice(others)
        what = f"swapped with {other.relative_to(originals)}"
        path.write_bytes(other.read_bytes())
    return Change(path.name, what)


def change_something(folder: Path, originals: Path, target: Path, chance: random.Random) -> Change:
    """Change one thing inside a run's or a sweep's folder; files to swap with are in the originals."""
    files = sorted(path for path in target.rglob("*") if path.is_file() and "tfevents" not in path.name)
    weights = [
        6 if path.suffix in (".ckpt", ".json") else 3 if path.name in ("metrics.csv", "multirun.yaml") else 1
        for path in files
    ]
    (path,) = chance.choices(files, weights)
    ways = {".ckpt": change_checkpoint, ".json": change_json, ".yaml": change_yaml, ".csv": change_table}
    kind = chance.random()
    if kind < 0.6 and path.suffix in ways:
        change = ways[path.suffix](path, chance)
    elif kind < 0.75 and path.stat().st_size:
        change = change_text(path, chance)
    else:
        change = change_file(path, folder, originals, chance)
    return change._replace(file=str(path.relative_to(folder)))


# Judging


class Expected(NamedTuple):
    """What a program does to the unchanged folder."""

    ended: Ended
    outcome: dict[str, Any]


def judge(
    case: Case,
    change: Change,
    ended: Ended,
    before: dict[str, str],
    status: dict[str, Any],
    folder: Path,
    as_is: Expected,
) -> str:
    """One of the good outcomes, or "WRONG: ..."."""
    said = ended.stdout + ended.stderr
    if ended.code < 0:
        return f"WRONG: ended by {signal.Signals(-ended.code).name}"
    if "Traceback" in said or "Logging error" in said:
        return "WRONG: a traceback"
    unchanged = content_of(folder) == before
    errors = [line for line in ended.lines if line.startswith("Error: ")]
    goes_on = case.arguments == ("resume=sweep",) and len(ended.lines) > 1  # with its other jobs
    if ended.code == 2 and not goes_on:
        if len(errors) != 1 or len(ended.stderr.strip().splitlines()) > 1 + ended.stderr.count("was changed"):
            return "WRONG: refused, but not in one line"
        return REFUSED if unchanged else "WRONG: refused, but the folder has changed"
    if content_of(folder / "outside") != {k[8:]: v for k, v in before.items() if k.startswith("outside/")}:
        return "WRONG: a file outside has changed"
    if wrong := _wrong_status(status, statuses(folder / case.target)):
        return f"WRONG: {wrong}"
    outcome = outcome_of(case, folder)
    if ended.code == as_is.ended.code and outcome == as_is.outcome:
        return SAME
    if _warns(case, change, ended, as_is.ended, folder):
        return WARNED if ended.code in (0, 1) or goes_on else f"WRONG: exit code {ended.code}"
    if change.digest_fits:
        if ended.code == 0 and not _finite(outcome):
            return "WRONG: a result that is not finite"
        return FINITE if ended.code == 0 or (ended.code == 1 and errors) else f"WRONG: exit code {ended.code}"
    return f"WRONG: exit code {ended.code}, other results without a warning"


def _wrong_status(before: dict[str, Any], after: dict[str, Any]) -> str:
    for name, status in before.items():
        if after.get(name) != status and after.get(name) not in ("completed", "diverged"):
            return f"{name}: {after.get(name)} instead of {status}"
    return ""


def _warns(case: Case, change: Change, ended: Ended, as_is: Ended, folder: Path) -> bool:
    """Is there a line that the unchanged folder does not give, and that names the file, the job or a setting?"""
    new = [line for line in ended.lines if line not in as_is.lines]
    file = Path(change.file)
    names = [file.name, *([f"job {file.parts[1]}", f"jobs {file.parts[1]}"] if case.target == "sweep" else [])]
    tells = [
        line
        for line in new
        if re.search(r"chang|differ|damaged|unreadable|refused|not a |not from|is from|cannot|has no|instead", line)
    ]
    named = [line for line in tells if any(name in line for name in names) or re.search(r"\w+\.?\w+=", line)]
    differ = case.arguments[0].startswith("rerun") and any("The metrics differ" in line for line in new)
    table = any(re.match(rf"{file.parts[1]}\s.*unreadable", line) for line in new) if len(file.parts) > 2 else False
    return bool(named) or differ or table or any("jobs are not finished" in line for line in new)


def _finite(outcome: Any) -> bool:
    if isinstance(outcome, dict):
        return all(map(_finite, outcome.values()))
    if isinstance(outcome, list):
        return all(map(_finite, outcome))
    if isinstance(outcome, str):
        return not re.search(r"\b(nan|inf)\b", outcome)
    return not isinstance(outcome, float) or math.isfinite(outcome)


# The campaign


class Campaign:
    """The originals, and what each program does to them as they are."""

    def __init__(self, folder: Path):
        self.originals, self.work = folder / "originals", folder / "work"
        self.originals.mkdir(parents=True)
        make_originals(self.originals)
        self.as_is: dict[Case, Expected] = {}

    def prepare(self, target: str) -> None:
        """A fresh copy of one of the originals."""
        shutil.rmtree(self.work, ignore_errors=True)
        for name in (target, "outside"):
            shutil.copytree(self.originals / name, self.work / name, symlinks=True)

    def expected(self, case: Case) -> Expected:
        if case not in self.as_is:
            self.prepare(case.target)
            ended = run_in_fork(case, self.work)
            refused = case.arguments in (("resume=complete",), ("rerun=interrupted",))
            assert ended.code == (2 if refused else 0), (case.command, ended)
            self.as_is[case] = Expected(ended, outcome_of(case, self.work) if ended.code == 0 else {})
        return self.as_is[case]

    def try_one(self, chance: random.Random) -> tuple[str, str, Ended]:
        """Change one thing and run a program on it; what was changed, how it was judged, and how it ended."""
        (target,) = chance.choices(list(CASES), [4, 4, 1, 4])
        case = chance.choice(CASES[target])
        as_is = self.expected(case)
        self.prepare(target)
        change = change_something(self.work, self.originals, self.work / target, chance)
        before, status = content_of(self.work), statuses(self.work / target)
        real = chance.random() < 0.02
        ended = (run_command_line if real else run_in_fork)(case, self.work)
        found = judge(case, change, ended, before, status, self.work, as_is)
        return f"{case.command}  with {change.file}: {change.what}", found, ended


def campaign(count: int, folder: Path, seed: int, first: int = 0) -> tuple[Counter, list[str]]:
    """Change so many things; gives how many of each outcome, and a line for each that was wrong."""
    outcomes, wrong, cases = Counter(), [], Campaign(folder)
    for number in range(first, first + count):
        what, found, ended = cases.try_one(random.Random(f"{seed}, {number}"))
        outcomes[found] += 1
        if found.startswith("WRONG"):
            last = ended.lines[-1][:300] if ended.lines else ""
            wrong.append(f"--seed {seed} --case {number}  {found}  {what!r}\n    {last!r}")
            print(wrong[-1], flush=True)
        if (done := number + 1 - first) % 50 == 0 and done < count:
            print(f"{done} of {count}, {len(wrong)} wrong", file=sys.stderr, flush=True)
    return outcomes, wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first change, to share a campaign")
    parser.add_argument("--case", type=int, help="run this one alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.case is not None:
            what, found, ended = Campaign(Path(folder)).try_one(random.Random(f"{arguments.seed}, {arguments.case}"))
            print(what, found, f"exit code {ended.code}", ended.stdout, ended.stderr, sep="\n")
            sys.exit(found.startswith("WRONG"))
        outcomes, wrong = campaign(arguments.count, Path(folder), arguments.seed, arguments.first)
    for found, number in sorted(outcomes.items()):
        print(f"{number:6}  {found}")
    print(f"{sum(outcomes.values()):6}  changed records, {len(wrong)} of them against the rules")
    sys.exit(bool(wrong))
