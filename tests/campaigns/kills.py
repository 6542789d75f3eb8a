"""Kills: a short training is ended by SIGKILL at random moments, saving included, and resumed until it is complete.

Its metrics, test included, must then be those of an undisturbed training, to the last digit.

python tests/campaigns/kills.py --count 50
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

REPO = Path(__file__).parents[2]
# Few images, and a network that is large for so short a training: many kills come while a checkpoint is written.
TRAINING = (
    *("data=digits", "data.limit=200", "data.batch_size=50", "trainer=cpu", "trainer.max_epochs=16", "routing.iters=2"),
    *("model.conv_channels=32", "model.primary_capsules=16", "model.dropout=0.3", "augment=shift_cutout"),
)
RECORDED = ("epochs", "best_epoch", "metrics", "config")


def train(folder: Path, arguments: tuple[str, ...]) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(REPO / "train.py"), *arguments]
    with (folder / "printed").open("a") as printed:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=printed, stderr=printed)


def outcome(run: Path) -> tuple[str, dict]:
    """The run's metrics.csv, and the part of its record that does not depend on time."""
    record = json.loads((run / "results.json").read_text())
    assert record["status"] == "completed", record
    return (run / "metrics.csv").read_text(), {key: record[key] for key in RECORDED}


def campaign(count: int, folder: Path, chance: random.Random) -> Counter:
    """Kill so many times; returns what was going on then. Asserts that every run ends as the undisturbed one."""
    assert train(folder, (*TRAINING, "hydra.run.dir=whole")).wait() == 0, (folder / "printed").read_text()
    expected = outcome(folder / "whole")
    seconds = 1.2 * json.loads((folder / "whole/results.json").read_text())["train_seconds"]  # some meet the test
    met, kills, number = Counter(), 0, 0
    while kills < count:
        run, number = folder / f"run{number}", number + 1
        arguments = (*TRAINING, f"hydra.run.dir={run.name}")
        for _ in range(min(3, count - kills)):  # some are killed again after they were resumed
            process = train(folder, arguments)
            _wait_for_start(process, run)
            time.sleep(chance.random() * seconds)
            process.kill()
            if process.wait() == 0:
                break  # it had ended before
            kills += 1
            met[_state(run)] += 1
            if (run / "results.json").exists():
                arguments = (f"resume={run.name}",)
        if (
            not (run / "results.json").exists()
            or json.loads((run / "results.json").read_text())["status"] != "completed"
        ):
            assert train(folder, arguments).wait() == 0, (folder / "printed").read_text()[-3000:]
        assert outcome(run) == expected, run
        if sys.stderr.isatty():
            print(f"\r{kills} kills, {number} runs", end="", file=sys.stderr)
    return met


def _wait_for_start(process: subprocess.Popen, run: Path) -> None:
    """Wait until the training is under way: what comes before is loading Python's modules."""
    record = run / "results.json"
    before = record.stat().st_mtime_ns if record.exists() else 0
    while process.poll() is None and (not record.exists() or record.stat().st_mtime_ns == before):
        time.sleep(0.01)


def _state(run: Path) -> str:
    if not (run / "results.json").exists():
        return "before the run's record"
    if list(run.rglob("*.part")):
        return "in the middle of writing a file"
    if not (run / "checkpoints/last.ckpt").exists():
        return "before the first checkpoint"
    if json.loads((run / "results.json").read_text())["epochs"] or (run / "evaluation.json").exists():
        return "in the test or after it"
    return "between checkpoints"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        met = campaign(arguments.count, Path(folder), random.Random(arguments.seed))
    for state, number in sorted(met.items()):
        print(f"{number:4}  {state}")
    print(f"{sum(met.values()):4}  kills; every run resumed, and ended with the metrics of the undisturbed one")
