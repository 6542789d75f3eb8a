"""How much of train.py's epoch is spent inside training steps: the rest is data, augmentation, callbacks, logging.

    python benchmarks/end_to_end.py                                             on the CPU, batches of 128
    python benchmarks/end_to_end.py --device gpu --images 60000 --batch-size 128 512 1024 4096

Trains for three epochs, as `python train.py` does, on random images with shift and cutout; the first epoch warms up.
"in steps" is the share of the other two's training that passes inside the optimiser's step, which runs the forward and
backward pass; a GPU is waited for there, which costs a little speed. "of epoch" is the share of all but validation:
with metrics, logs and checkpoints. "epoch" is a whole one.
"""

import argparse
import json
import logging
import struct
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from capsnet.config import AugmentConfig, Config, DataConfig, TrainerConfig
from capsnet.training import train

EPOCHS, VALIDATION, CLASSES = 3, 500, 10


class EpochClock(pl.Callback):
    """Seconds of each epoch: of its training part, inside its steps, and of the whole up to the next one.

    Args:
        synchronize: wait for the GPU at the end of each step, so that its work is counted there.
    """

    def __init__(self, synchronize: bool):
        self.synchronize = synchronize
        self.training: list[float] = []
        self.in_steps: list[float] = []
        self.starts: list[float] = []
        self.validation = 0.0  # of all epochs but the first

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        optimizer.register_step_pre_hook(self.step_begins)
        optimizer.register_step_post_hook(self.step_ends)

    def step_begins(self, *_: Any) -> None:
        self.step_began = time.perf_counter()

    def step_ends(self, *_: Any) -> None:
        if self.synchronize:
            torch.cuda.synchronize()
        self.in_steps[-1] += time.perf_counter() - self.step_began

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.in_steps.append(0.0)
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.training.append(time.perf_counter() - self.starts[-1])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_began = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation += (time.perf_counter() - self.validation_began) * (len(self.starts) > 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.starts.append(time.perf_counter())


def write_random_images(root: Path, images: int) -> None:
    """Files like KMNIST's."""
    raw = root / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for kind, count in (("train", images), ("t10k", 100)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.resize(np.arange(CLASSES, dtype=np.uint8), count)
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes())
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())


def measure(root: Path, run_dir: Path, images: int, batch_size: int, device: str, compiled: bool) -> dict[str, Any]:
    config = Config(
        data=DataConfig(root=str(root), batch_size=batch_size, val_size=VALIDATION, download=False),
        augment=AugmentConfig(max_shift=2, cutout_size=8),
        trainer=TrainerConfig(accelerator=device, devices=1, max_epochs=EPOCHS, compile=compiled),
    )
    rates = {}
    for synchronize in (True, False) if device == "gpu" else (False,):
        run_dir.mkdir()
        clock = EpochClock(synchronize)
        results = train(config, run_dir, callbacks=[clock])
        run_dir = run_dir.with_name(run_dir.name + "-async")
        rates["images_per_second"] = images * (EPOCHS - 1) / sum(clock.training[1:])
        spent = clock.starts[-1] - clock.starts[1] - clock.validation
        rates.setdefault("of_epoch", sum(clock.in_steps[1:]) / spent)
        rates.setdefault("in_steps", sum(clock.in_steps[1:]) / sum(clock.training[1:]))
    return {
        "batch_size": batch_size,
        "precision": results.precision,
        "compiled": compiled,
        "device": results.device,
        "images": images,
        "epoch_seconds": (clock.starts[-1] - clock.starts[1]) / (EPOCHS - 1),
        **rates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--images", type=int, default=6_400)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128])
    parser.add_argument("--compile", action="store_true", help="with trainer.compile=true")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/end_to_end.json"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_random_images(root, arguments.images + VALIDATION)
        for batch_size in arguments.batch_size:
            run_dir = root / f"batch-{batch_size}"
            row = measure(root, run_dir, arguments.images, batch_size, arguments.device, arguments.compile)
            if not rows:
                print(f"{row['device']}, torch {torch.__version__}, {date.today()}; {arguments.images:,} images\n")
                print(f"{'batch':>6}  {'precision':<11}{'images/s':>10}{'in steps':>10}{'of epoch':>10}{'epoch':>10}")
            rows.append(row)
            print(
                f"{row['batch_size']:>6}  {row['precision']:<11}{row['images_per_second']:>10,.0f}"
                f"{row['in_steps']:>10.1%}{row['of_epoch']:>10.1%}{row['epoch_seconds']:>8.2f} s",
                flush=True,
            )
    record = {"torch": torch.__version__, "python": sys.version, "date": str(date.today()), "rows": rows}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"\nwritten to {arguments.json}")


if __name__ == "__main__":
    main()
