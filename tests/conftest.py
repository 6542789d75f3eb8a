"""Small real files in MNIST's format, and trainings by the real command line, shared by the tests."""

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

REPO = Path(__file__).parents[1]
SMALL = ("model.conv_channels=16", "model.primary_capsules=4", "trainer=cpu")
DIGITS = ("data=digits", "data.limit=300", "data.batch_size=32", *SMALL)

settings.register_profile("capsnet", deadline=None, derandomize=True)
settings.load_profile("capsnet")


@pytest.fixture(autouse=True)
def _fixed_randomness():
    torch.manual_seed(0)


def write_idx(path: Path, values: np.ndarray) -> None:
    """An uncompressed IDX file of bytes."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


@pytest.fixture
def kmnist_root(tmp_path: Path) -> Path:
    """A root with readable, made-up KMNIST files: 200 training images and 50 for testing."""
    make_kmnist(tmp_path / "root")
    return tmp_path / "root"


def make_kmnist(root: Path) -> None:
    random = np.random.default_rng(0)
    for kind, count in (("train", 200), ("t10k", 50)):
        labels = np.arange(count) % 10
        images = random.integers(0, 256, (count, 28, 28))
        images[np.arange(count), labels * 2] = 255  # a bright row tells the class
        write_idx(root / "KMNIST/raw" / f"{kind}-images-idx3-ubyte", images)
        write_idx(root / "KMNIST/raw" / f"{kind}-labels-idx1-ubyte", labels)


def run_command(
    program: str, *arguments: str, cwd: Path, timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run train.py or evaluate.py as a person would, from another folder, where outputs/ then appears."""
    return subprocess.run(
        [sys.executable, str(REPO / program), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )


def wait_until(
    holds: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 120, every: float = 0.02
) -> None:
    """Wait until it holds, as long as the process, if one is given, goes on."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(every)


def only_run(folder: Path) -> Path:
    """The one run's folder below `folder`/outputs."""
    (record,) = (folder / "outputs").rglob("results.json")
    return record.parent


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small training on digits, run by the command line."""
    folder = tmp_path_factory.mktemp("finished run")  # with a space: paths need no special care
    done = run_command(
        "train.py", "data=digits", "data.batch_size=32", "trainer.max_epochs=3", "routing.iters=2", *SMALL, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    (folder / "terminal.txt").write_text(done.stdout, encoding="utf-8")
    return only_run(folder)
