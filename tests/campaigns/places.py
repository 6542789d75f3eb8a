"""Crowded folders: trainings, sweeps, evaluations and repetitions in folders full of somebody else's files.

Some have settings that are refused, some are interrupted or killed at random moments. Whatever happens, every file and
folder that was there before must be as it was.

python tests/campaigns/places.py --count 200
"""

import argparse
import contextlib
import faulthandler
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import run_in_process

import capsnet.reports.evaluation
import capsnet.reports.figures
import capsnet.sweeps.summary
import capsnet.training.run  # noqa: F401 (loaded once, for every program)

SECONDS = 60  # that a program may take

TRAINING = (
    *("data=digits", "data.limit=120", "data.batch_size=50", "model.conv_channels=4", "model.primary_capsules=2"),
    *("model.class_dim=4", "routing.iters=2", "trainer=cpu", "figures=false", "trainer.max_epochs=2"),
)
OURS = (
    *("train.log", "metrics.csv", "results.json", "evaluation.json", "figures/curves.png", "checkpoints/best.ckpt"),
    *(
        "checkpoints/last.ckpt",
        "checkpoints/",
        "figures/",
        ".hydra/",
        ".hydra/config.yaml",
        ".hydra/mine.yaml",
        ".lock",
    ),
    *("events.out.tfevents.1.somebody", "multirun.yaml", "sweep.json", "sweep.csv", "summary.csv", "sweep.png"),
    *("study.db", "0/", "0/results.json", "1/notes.txt", ".submitit/", "results.json.123.part", "metrics.csv.7.part"),
)
"""Names that the runner uses itself."""
OTHERS = (
    *("movie.mkv.part", "sub/x.part", "thesis.tex", "data/KMNIST/raw/x.part", "data/KMNIST/raw/", "data/", "outputs/"),
    *("outputs/mine.txt", "runs/7/", "empty/deeper/", ".hidden", "train.log.1", "results.json.mine.part", "a b/ü.txt"),
    *("best.ckpt.part", "config.yaml", "checkpoint/", "digits/", "weights.ckpt", "seed=0/events.out.tfevents.1.x"),
)
REFUSED = (
    *("data.batch_size=100000", "routing.iters=0", "trainer.limit_train_batches=0.0001", "no.such=1", "seed=x"),
    *("model.class_dim=99999999999999999999", "trainer.devices=1000", "trainer.strategy=nonsense", "data=nothing"),
    *("routing.iters=100000000000", "optimizer.lr=nan", "data.val_size=5000", "model.conv_channels=0", "x=(", "~seed"),
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    """Negative: by that signal."""
    stdout: str
    stderr: str


def run_in_fork(program: str, arguments: tuple[str, ...], folder: Path, stop: tuple[int, float] | None = None) -> Ended:
    """Run a program in a copy of this process, which has loaded everything, so that no crash or hang ends this one.

    Args:
        program, arguments: as for `run_in_process`.
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
            done = run_in_process(program, *arguments, cwd=folder)
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


def content_of(folder: Path) -> dict[str, bytes | None]:
    """Every file of a folder with its content, and every folder with None."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


class Visit(NamedTuple):
    """What is run in a crowded folder."""

    kind: str
    program: str
    arguments: tuple[str, ...]
    where: str = "."
    """The current folder, below that of the campaign."""


def crowd(place: Path, chance: random.Random, names: tuple[str, ...]) -> None:
    """Put somebody's files and folders of some of these names into a folder."""
    place.mkdir(parents=True, exist_ok=True)
    for name in chance.sample(names, chance.randint(1, min(8, len(names)))):
        path = place / name
        if path.exists() or any(parent.is_file() for parent in path.parents):
            continue
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.choice((b"", b"mine", b"epoch,step\n1,1\n", b"\x00" * 99)))


def visit(folder: Path, run: Path, chance: random.Random) -> Visit:
    """Crowd the folder `folder`/place, and choose what to run there."""
    place = folder / "place"
    names = OURS + OTHERS if chance.random() < 0.7 else OTHERS
    settings = [*TRAINING, *([chance.choice(REFUSED)] if chance.random() < 0.4 else [])]
    here = chance.random() < 0.5
    where = chance.choice((".", "new", "sub/new run", "data"))
    kind = chance.choice(
        ("train", "train", "train", "sweep", "sweep", "rerun", "evaluate", "resume", "summary", "data")
    )
    if kind in ("train", "sweep"):
        crowd(place, chance, names)
        key = {"train": "hydra.run.dir", "sweep": "hydra.sweep.dir"}[kind]
        if chance.random() < 0.2:  # the folder that the runner chooses itself
            return Visit(f"{kind} in outputs/", "train.py", _sweep_of(kind, settings), "place")
        target = f"{key}={where}" if here else f"{key}='{Path('place', where)}'"
        return Visit(kind, "train.py", (*_sweep_of(kind, settings), target), "place" if here else ".")
    if kind == "rerun":
        crowd(place, chance, names)
        return Visit(kind, "train.py", (f"rerun={run}",), "place")
    if kind == "evaluate":
        path = place / chance.choice(("weights.ckpt", "checkpoints/best.ckpt"))
        path.parent.mkdir(parents=True)
        shutil.copy(run / "checkpoints/best.ckpt", path)
        crowd(place, chance, names)
        asked = f"checkpoint={path.relative_to(folder)}" if chance.random() < 0.5 else "run=place"
        return Visit(kind, "evaluate.py", (asked, f"figures={chance.choice(('true', 'false'))}"))
    if kind == "resume":
        if chance.random() < 0.5:  # a run of ours, among other files
            shutil.copytree(run, place)
            crowd(place, chance, OTHERS)
            _disown(place, run)
            return Visit("resume our run", "train.py", ("resume=place", "trainer.max_epochs=3"))
        crowd(place, chance, names)
        return Visit("resume what is no run", "train.py", ("resume=place",))
    if kind == "summary":
        crowd(place, chance, names)
        return Visit(kind, "capsnet.sweeps", ("place",))
    crowd(
        place, chance, (*OTHERS, "KMNIST/raw/train-images-idx3-ubyte", "KMNIST/raw/", "KMNIST/", "KMNIST/raw/mine.part")
    )
    data = ("data=kmnist", "data.root=place", "data.mirror=http://127.0.0.1:9/", *TRAINING[1:])
    return Visit("data in", "train.py", data)


def _sweep_of(kind: str, settings: list[str]) -> tuple[str, ...]:
    return ("-m", "seed=0,1", *settings) if kind == "sweep" else tuple(settings)


_own: dict[Path, set[str]] = {}


def _disown(place: Path, run: Path) -> None:
    """The files of a run that is resumed are the runner's, which may change them."""
    _own[place] = {str(path.relative_to(run)) for path in run.rglob("*")}


def check(folder: Path, run: Path, chance: random.Random) -> str:
    """Run something in a crowded folder, and assert that what was there is as it was; gives what was done."""
    _own.clear()
    what = visit(folder, run, chance)
    own = {f"place/{name}" for name in _own.get(folder / "place", ())}
    before = {name: entry for name, entry in content_of(folder).items() if name not in own}
    stop = (chance.choice(SIGNALS), chance.random() * 1.2) if chance.random() < 0.4 else None
    ended: Ended = run_in_fork(what.program, what.arguments, folder / what.where, stop)
    after = content_of(folder)
    changed = [name for name, entry in before.items() if name not in after or after[name] != entry]
    described = (what, stop, ended.code, ended.stderr[-1000:], changed)
    assert not changed, described
    assert "Traceback" not in ended.stdout + ended.stderr, described
    assert stop or ended.code in (0, 1, 2), described
    outcome = "refused" if ended.code == 2 else f"ended by {stop[0].name}" if stop and ended.code != 0 else "done"
    return f"{what.kind}: {outcome if ended.code != 1 else 'failed'}"


def campaign(count: int, folder: Path, seed: int, first: int = 0) -> Counter:
    """Run so many commands in crowded folders; gives how many of each kind."""
    run, outcomes = folder / "run", Counter()
    folder.mkdir(parents=True, exist_ok=True)
    done = run_in_fork("train.py", (*TRAINING, f"hydra.run.dir={run}"), folder)
    assert done.code == 0, done
    for number in range(first, first + count):
        shutil.rmtree(folder / "case", ignore_errors=True)
        (folder / "case").mkdir()
        try:
            outcomes[check(folder / "case", run, random.Random(f"{seed}, {number}"))] += 1
        except AssertionError:
            print(f"--seed {seed} --first {number} --count 1", flush=True)
            raise
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first folder, to repeat one")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = campaign(arguments.count, Path(folder), arguments.seed, arguments.first)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:5}  {outcome}")
    print(f"{sum(outcomes.values()):5}  crowded folders; nothing of theirs was changed")
