"""Table 1 of Sabour, Frosst & Hinton (2017) on MNIST, and the same on KMNIST-7k: routing iterations and reconstruction.

    python benchmarks/table1.py --root DIR --seconds 3600 --out outputs/table1      MNIST in DIR/MNIST/raw
    python benchmarks/table1.py --data kmnist_7k --out outputs/table1_kmnist         no files needed

Each row is `experiment=sabour_2017` with what the row says, trained on all training images. The test is of the last
epoch: nothing is chosen by it. The program ends after `--seconds`, in the middle of a training if need be; called again
with the same --out, it goes on from there. All rows get the same epochs. The paper trains far longer than a processor
can: give what time there is.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import print_headline, save_results
from tqdm import tqdm

from capsnet.text import columns

TRAIN = Path(__file__).parents[1] / "train.py"
ALONE = "loss.reconstruction_weight=0"
ROWS: dict[str, tuple[list[str], float]] = {
    "CapsNet, 3 iterations, reconstruction": (["routing.iters=3"], 0.25),
    "CapsNet, 1 iteration": (["routing.iters=1", ALONE], 0.34),
    "CapsNet, 1 iteration, reconstruction": (["routing.iters=1"], 0.29),
    "CapsNet, 3 iterations": (["routing.iters=3", ALONE], 0.35),
    "CNN": (["model=cnn", "routing=none", "loss=cross_entropy"], 0.39),
}
"""The overrides of each row of the table, and the paper's test error in percent. The first two carry its claim."""


def folder_of(out: Path, row: str, seed: int) -> Path:
    return out / row.replace(", ", "_").replace(" ", "-") / f"seed_{seed}"


def overrides_of(row: str, seed: int, arguments: argparse.Namespace) -> list[str]:
    overrides = ["experiment=sabour_2017", f"data={arguments.data}", "data.val_size=0", f"seed={seed}", "figures=false"]
    overrides += [f"data.root={arguments.root.resolve()}"] if arguments.root else []
    return [*overrides, f"trainer.max_epochs={arguments.epochs}", *ROWS[row][0], *arguments.more]


def record_of(folder: Path) -> dict:
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def train_until(deadline: float, folder: Path, overrides: list[str]) -> bool:
    """Train, or go on with a training; gives whether it was completed. Raises if it failed."""
    resumable = (folder / "checkpoints/last.ckpt").exists()
    # Without a whole epoch there is nothing to resume, and a folder that is in use is not trained in again.
    given = [f"resume={folder}"] if resumable else [*overrides, f"hydra.run.dir={fresh(folder)}"]
    process = subprocess.Popen([sys.executable, str(TRAIN), *given], stdout=-3)
    try:
        process.wait(max(0, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.send_signal(signal.SIGINT)
        process.wait()
        return False
    if process.returncode:
        raise SystemExit(f"{folder}: the training failed, see train.log there")
    return True


def fresh(folder: Path) -> Path:
    """The folder; what a training left there that was stopped before its first epoch ended is put aside."""
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}_stopped_{time.time_ns()}"))
    return folder


def summarized(arguments: argparse.Namespace) -> list[dict]:
    """A row of the table for each row that has completed trainings."""
    rows = []
    for row, (_, published) in ROWS.items():
        records = [record_of(folder_of(arguments.out, row, seed)) for seed in arguments.seeds]
        done = [record for record in records if record.get("status") == "completed"]
        if done:
            errors = [100 * (1 - record["metrics"]["test/accuracy"]) for record in done]
            rows.append({
                "row": row, "trials": len(done), "epochs": done[0]["epochs"], "parameters": done[0]["parameters"],
                "error": statistics.mean(errors), "deviation": statistics.stdev(errors) if len(errors) > 1 else None,
                "errors": errors, "seconds": sum(record["train_seconds"] for record in done),
                "published": published, "device": done[0]["device"], "precision": done[0]["precision"],
            })  # fmt: skip
    return rows


def table(rows: list[dict]) -> str:
    head = ["network", "epochs", "trials", "test error", "the paper's, MNIST", "minutes a training"]
    body = []
    for row in rows:
        spread = "" if row["deviation"] is None else f" ± {row['deviation']:.2f}"
        error = f"{row['error']:.2f}{spread} %"
        minutes = f"{row['seconds'] / row['trials'] / 60:.1f}"
        body.append([row["row"], str(row["epochs"]), str(row["trials"]), error, f"{row['published']:.2f} %", minutes])
    return columns([head, *body])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="the folder that has MNIST/raw; without it, as data.root says")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--out", type=Path, default=Path("outputs/table1"))
    parser.add_argument("more", nargs="*", help="further overrides for every row, such as trainer=gpu")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    deadline = time.monotonic() + min(arguments.seconds, 1e9)
    print_headline("cpu")
    pairs = [(row, seed) for seed in arguments.seeds for row in arguments.rows]
    for row, seed in tqdm(pairs, disable=None):
        folder = folder_of(arguments.out.resolve(), row, seed)
        if record_of(folder).get("status") == "completed":
            continue
        if time.monotonic() > deadline or not train_until(deadline, folder, overrides_of(row, seed, arguments)):
            print("out of time: call this again to go on")
            break
    rows = summarized(arguments)
    print(table(rows))
    save_results(arguments.out / "table1.json", "cpu", rows, data=arguments.data, epochs=arguments.epochs)


if __name__ == "__main__":
    main()
