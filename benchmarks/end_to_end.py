"""How much of an epoch the training steps take; the rest goes to data, augmentation, callbacks and logging.

    python benchmarks/end_to_end.py                                             on the CPU, batches of 128
    python benchmarks/end_to_end.py --device cuda --images 60000 --batch-size 128 512 1024 4096

Trains for three epochs as train.py does, on random images with shift and cutout. The first epoch warms up and is not
counted. "in steps" is the share of training time spent in the optimizer's step, in which Lightning runs the forward and
backward pass. "of epoch" is that share of the epoch without validation, but with metrics, logs and checkpoints.
"epoch" is the time of a whole one. On a GPU, each batch size is trained twice: for the shares, every step waits for the
GPU; the times are measured without waiting.
"""

import argparse
import logging
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from report import print_headline, save_results
from timing import wait_for

from capsnet.runs.record import RunRecord
from capsnet.settings.config import Config
from capsnet.settings.parse import config_from_dict
from capsnet.training.run import train

EPOCHS, VALIDATION_IMAGES, TEST_IMAGES, CLASSES = 3, 500, 100, 10


class EpochClock(pl.Callback):
    """Measures each epoch: its training, the steps in it, and the validations.

    Args:
        waits: wait for the GPU after each step, so that the step's time includes its work there.
    """

    def __init__(self, waits: bool):
        self.waits = waits
        self.training: list[float] = []
        self.in_steps: list[float] = []
        self.starts: list[float] = []  # of the epochs, and the end of the last
        self.validation = 0.0  # of all epochs but the first

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.device = pl_module.device.type
        (optimizer,) = trainer.optimizers
        optimizer.register_step_pre_hook(self.step_begins)
        optimizer.register_step_post_hook(self.step_ends)

    def step_begins(self, *_: Any) -> None:
        self.step_began = time.perf_counter()

    def step_ends(self, *_: Any) -> None:
        if self.waits:
            wait_for(self.device)
        self.in_steps[-1] += time.perf_counter() - self.step_began

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.in_steps.append(0.0)
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.is_last_batch:
            wait_for(self.device)
            self.training.append(time.perf_counter() - self.starts[-1])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation_began = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validation += (time.perf_counter() - self.validation_began) * (len(self.starts) > 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.starts.append(time.perf_counter())

    @property
    def training_seconds(self) -> float:
        """Of all epochs but the first."""
        return sum(self.training[1:])

    @property
    def step_seconds(self) -> float:
        """Of all epochs but the first."""
        return sum(self.in_steps[1:])

    @property
    def epoch_seconds(self) -> float:
        """Of all epochs but the first, validation included."""
        return self.starts[-1] - self.starts[1]


def write_random_images(root: Path, training_images: int) -> None:
    """Write files in the form of KMNIST's."""
    raw = root / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count in (("train", training_images), ("t10k", TEST_IMAGES)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.resize(np.arange(CLASSES, dtype=np.uint8), count)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())


def config_for(root: Path, batch_size: int, device: str, compiled: bool) -> Config:
    return config_from_dict(
        {
            "data": {
                "name": "kmnist",
                "root": str(root),
                "download": False,
                "batch_size": batch_size,
                "val_size": VALIDATION_IMAGES,
            },
            "augment": {"max_shift": 2, "cutout_size": 8},
            "trainer": {"accelerator": device, "devices": 1, "max_epochs": EPOCHS, "compile": compiled},
            "figures": False,
        }
    )


def measure(root: Path, images: int, batch_size: int, device: str, compiled: bool) -> dict[str, Any]:
    """Train, and return a row of the table.

    Args:
        root: folder of the dataset; the runs' folders are made in it.
        images: training images in an epoch.
        batch_size: images per step.
        device: "cpu" or "cuda".
        compiled: use torch.compile.
    """
    config = config_for(root, batch_size, device, compiled)

    def timed(waits: bool) -> tuple[EpochClock, RunRecord]:
        clock = EpochClock(waits)
        return clock, train(config, Path(tempfile.mkdtemp(dir=root)), callbacks=[clock])

    shares, record = timed(waits=True)
    times = timed(waits=False)[0] if device == "cuda" else shares
    return {
        "batch_size": batch_size,
        "precision": record.precision,
        "compiled": compiled,
        "images": images,
        "images_per_second": images * (EPOCHS - 1) / times.training_seconds,
        "in_steps": shares.step_seconds / shares.training_seconds,
        "of_epoch": shares.step_seconds / (shares.epoch_seconds - shares.validation),
        "epoch_seconds": times.epoch_seconds / (EPOCHS - 1),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--images", type=int, default=6_400, help="training images in an epoch")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128])
    parser.add_argument("--compile", action="store_true", help="train with trainer.compile=true")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/end_to_end.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)
    print_headline(arguments.device)
    print(f"{'batch':>6}  {'precision':<11}{'images/s':>10}{'in steps':>10}{'of epoch':>10}{'epoch':>10}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_random_images(root, arguments.images + VALIDATION_IMAGES)
        for batch_size in arguments.batch_size:
            row = measure(root, arguments.images, batch_size, arguments.device, arguments.compile)
            rows.append(row)
            print(
                f"{row['batch_size']:>6}  {row['precision']:<11}{row['images_per_second']:>10,.0f}"
                f"{row['in_steps']:>10.1%}{row['of_epoch']:>10.1%}{row['epoch_seconds']:>8.2f} s",
                flush=True,
            )
    save_results(arguments.json, arguments.device, rows)


if __name__ == "__main__":
    main()
