"""A long run of short epochs: memory and open files of the process after each, as a table and a picture.

python tests/campaigns/endurance.py --epochs 500 --picture docs/endurance.png
"""

import argparse
import gc
import os
import tempfile
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from capsnet.settings.parse import config_from_dict
from capsnet.training.run import train

TRAINING = {
    "data": {"name": "digits", "limit": 200, "batch_size": 50},
    "augment": {"max_shift": 2, "cutout_size": 8},
    "model": {"conv_channels": 16, "primary_capsules": 4, "dropout": 0.2},
    "trainer": {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False},
}


class Gauge(Callback):
    """Reads after each epoch what the process holds."""

    def __init__(self) -> None:
        self.mebibytes: list[float] = []
        self.files: list[int] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.mebibytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.files.append(len(os.listdir("/proc/self/fd")))


def campaign(epochs: int, folder: Path) -> Gauge:
    """Train for so many epochs, and read the gauge after each."""
    gauge = Gauge()
    config = config_from_dict(TRAINING, {"trainer.max_epochs": epochs, "optimizer.lr_decay": 1.0})
    assert train(config, folder, callbacks=[gauge]).status == "completed"
    return gauge


def draw(gauge: Gauge, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    memory, files = figure.subplots(1, 2)
    epochs = range(1, len(gauge.files) + 1)
    memory.plot(epochs, gauge.mebibytes)
    memory.set(xlabel="epoch", ylabel="resident memory, MiB", ylim=(0, 1.2 * max(gauge.mebibytes)))
    files.plot(epochs, gauge.files)
    files.set(xlabel="epoch", ylabel="open files", ylim=(0, 1.2 * max(gauge.files)))
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gauge = campaign(arguments.epochs, Path(folder))
    for epoch in sorted({1, 2, 5, 10, 20, 50, 100, 200, 300, 400, arguments.epochs}):
        if epoch <= arguments.epochs:
            print(f"epoch {epoch:4}  {gauge.mebibytes[epoch - 1]:7.1f} MiB  {gauge.files[epoch - 1]:3} open files")
    if arguments.picture:
        draw(gauge, arguments.picture)
