"""Small real files in MNIST's format, and the programs run as a person runs them, shared by the tests."""

import contextlib
import csv
import io
import json
import logging
import os
import runpy
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from capsnet.output import Targets
from capsnet.runs.trained import TrainedModel, load
from capsnet.settings import plugins
from capsnet.settings.config import ALL_OPTIONS, Config
from capsnet.settings.parse import config_from_dict

REPO = Path(__file__).parents[1]
FIXED = ("trainer.precision=32-true", "trainer.fourier=off", "trainer.layout=channels_last")
"""What a run would else choose by measuring: digits depend on it."""
SMALL = ("model.conv_channels=4", "model.primary_capsules=2", "trainer=cpu", *FIXED)
DIGITS = ("data=digits", "data.limit=300", "data.batch_size=32", "figures=false", *SMALL)
TWO_PROCESSES = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")

os.environ["OMP_NUM_THREADS"] = "1"  # the networks are small: several threads would mostly wait for each other
os.environ["OMP_WAIT_POLICY"] = "passive"  # where there are several, they wait without using the processor
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), "capsnet-tests-cache")  # not that of the person
torch.set_num_threads(1)
# The tests may have been started with nohup, or by a shell in the background: programs would inherit what is ignored.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("capsnet", deadline=None, derandomize=True)
settings.load_profile("capsnet")


@pytest.fixture(autouse=True)
def _fixed_randomness():
    torch.manual_seed(0)


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _no_process_left_running():
    """End what a test has started and, because it failed, not waited for."""
    yield
    for process in _started:
        if process.poll() is None:
            process.kill()
            process.communicate()
    _started.clear()


# Data


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


def make_k49(root: Path) -> None:
    """Readable, made-up files of Kuzushiji-49: two training images of class 0, four of the others, one each to test."""
    raw = root / "K49" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 1)):
        labels = np.arange(49, dtype=np.uint8).repeat(count)[2 if part == "train" else 0 :]
        images = random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        np.savez_compressed(raw / f"k49-{part}-imgs.npz", images)
        np.savez_compressed(raw / f"k49-{part}-labels.npz", labels)


@contextlib.contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """The address of a local server of the files in a folder."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda self, *given: None})
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=folder))
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()


def made_up(shape: tuple[int, ...]) -> np.ndarray:
    """Random bytes, the same ones each time."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def make_cifar10(root: Path) -> None:
    """Readable, made-up files of CIFAR-10: 20 images each."""
    raw = root / "CIFAR10" / "raw"
    raw.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = made_up((20, 1 + 3 * 32 * 32))
        records[:, 0] = np.arange(20) % 10
        (raw / f"{name}.bin").write_bytes(records.tobytes())


def make_svhn(root: Path) -> None:
    """Readable, made-up files of Street View House Numbers: 40 and 20 images."""
    raw = root / "SVHN" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 40), ("test", 20)):
        labels = np.arange(count, dtype=np.uint8)[:, None] % 10 + 1
        savemat(raw / f"{part}_32x32.mat", {"X": made_up((32, 32, 3, count)), "y": labels})


def make_smallnorb(root: Path) -> None:
    """Readable, made-up files of smallNORB: each class from 18 azimuths, 9 elevations in turn; two toys to train."""
    raw = root / "smallNORB" / "raw"
    raw.mkdir(parents=True)
    parts = {"smallnorb-5x46789x9x18x6x2x96x96-training": (4, 6), "smallnorb-5x01235x9x18x6x2x96x96-testing": (0,)}
    for part, toys in parts.items():
        views = [(label, toy, view % 9, 2 * view, view % 6) for label in range(5) for toy in toys for view in range(18)]
        numbers = np.array(views, dtype="<i4")
        for kind, values in (
            ("dat", made_up((len(views), 2, 96, 96))),
            ("cat", numbers[:, 0]),
            ("info", numbers[:, 1:]),
        ):
            magic = 0x1E3D4C55 if kind == "dat" else 0x1E3D4C54
            sizes = (*values.shape, 1, 1)[: max(3, values.ndim)]
            head = struct.pack(f"<Ii{len(sizes)}i", magic, values.ndim, *sizes)
            (raw / f"{part}-{kind}.mat").write_bytes(head + np.ascontiguousarray(values).tobytes())


def make_folder_of_digits(root: Path, parts: dict[str, int], classes: int = 3) -> None:
    """Real digits as PNG files, root/PART/zero/0.png and so on, in the first few classes.

    Args:
        root: the folder.
        parts: images of each class, by part; the part "" is the root itself.
    """
    digits = load_digits()
    images = (digits.images * 255 / 16).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    for label, name in enumerate(("zero", "one", "two", "three")[:classes]):
        own = iter(images[digits.target == label])
        for part, count in parts.items():
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(next(own)).save(root / part / name / f"{number}.png")


def wanted(labels: torch.Tensor, drawn: torch.Tensor, weights: torch.Tensor | None = None) -> Targets:
    """The targets of images, given their classes [batch], or class probabilities [batch, classes]."""
    if labels.is_floating_point():
        return Targets(labels.argmax(1), drawn, labels, weights)
    return Targets(labels, drawn, None, weights)


def digits_config(**settings: Any) -> Config:
    """A small network on a few digits for two epochs, without figures.

    Args:
        settings: replace these; a key's dots are written as two underscores, as in trainer__max_epochs=4.
    """
    capsnet = {"model": "capsnet", "model.conv_channels": 4, "model.primary_capsules": 2}
    values = {
        "data": "digits",
        "data.limit": 300,
        "data.batch_size": 64,
        **(capsnet if "model" not in settings else {}),
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        **dict(setting.split("=") for setting in FIXED),
        "trainer.max_epochs": 2,
        "trainer.enable_progress_bar": False,
        "figures": False,
    }
    return config_from_dict({}, values | {key.replace("__", "."): value for key, value in settings.items()})


# Programs


def command_line(program: str, *arguments: str) -> list[str]:
    """How a person calls a file of the project such as train.py, or a module such as capsnet.sweeps."""
    called = [str(REPO / program)] if program.endswith(".py") else ["-m", program]
    return [sys.executable, *called, *arguments]


def run_command(
    program: str, *arguments: str, cwd: Path, timeout: float = 240, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a program as a person would, from another folder, where outputs/ then appears.

    Args:
        environment: variables to set; None removes one.
    """
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    return subprocess.run(
        command_line(program, *arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=variables,
    )


def start_command(program: str, *arguments: str, cwd: Path, **more: Any) -> subprocess.Popen[str]:
    """Start a program in the background, which Ctrl-C can interrupt."""
    process = subprocess.Popen(
        command_line(program, *arguments),
        cwd=cwd,
        text=True,
        # A shell's background jobs, as these tests may be, pass on that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more,
    )
    _started.append(process)
    return process


def run_in_process(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in this process, which has loaded torch already, and undo what it changed.

    Unlike `run_command`, it cannot see what Python itself prints, such as warnings.
    """
    printed, errors = io.StringIO(), io.StringIO()
    with (
        _process_state_restored(),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        sys.argv[:] = [program, *arguments]
        try:
            if program.endswith(".py"):
                runpy.run_path(str(REPO / program), run_name="__main__")
            else:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        except Exception:
            traceback.print_exc(file=errors)
            code = 1
    return subprocess.CompletedProcess([program, *arguments], code, printed.getvalue(), errors.getvalue())


@contextlib.contextmanager
def _process_state_restored() -> Iterator[None]:
    """Restore what a program sets for its whole process: signals, environment, logging, Hydra, plugins."""
    arguments, search, environment, threads = sys.argv[:], sys.path[:], os.environ.copy(), torch.get_num_threads()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    root = logging.getLogger()
    level, log_handlers = root.level, root.handlers[:]
    options, loaded = {group: dict(found) for group, found in ALL_OPTIONS.items()}, plugins._loaded
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        if plugins._loaded != loaded:
            for name in [name for name in sys.modules if name.startswith("capsnet_plugin_")]:
                del sys.modules[name]
            for group, found in options.items():
                for name in ALL_OPTIONS[group].keys() - found.keys():
                    del ALL_OPTIONS[group][name]
                    for folder in (group, f"settings/{group}", f"suits/{group}", f"suited/{group}"):
                        _forget_stored(folder, f"{name}.yaml")
            plugins._loaded = loaded
        for handler in root.handlers:
            if handler not in log_handlers:
                handler.close()
        root.handlers[:] = log_handlers
        root.setLevel(level)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv[:], sys.path[:] = arguments, search


def _forget_stored(folder: str, file: str) -> None:
    """Remove a file from those that Hydra has in memory."""
    found: Any = ConfigStore.instance().repo
    for part in folder.split("/"):
        found = found.get(part, {})
    found.pop(file, None)


def wait_until(
    holds: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 240, every: float = 0.02
) -> None:
    """Wait until it holds, as long as the process, if one is given, goes on."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(every)


# Runs


def only_run(folder: Path) -> Path:
    """The one run's folder below `folder`/outputs."""
    (record,) = (folder / "outputs").rglob("results.json")
    return record.parent


def only_sweep(folder: Path) -> Path:
    """The one sweep's folder below `folder`/outputs."""
    (sweep,) = (folder / "outputs/sweeps").iterdir()
    return sweep


def record_of(run: Path) -> dict[str, Any]:
    """A run's results.json."""
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, such as metrics.csv or sweep.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def curves_of(run: Path) -> EventAccumulator:
    """What TensorBoard reads of a run."""
    (folder,) = {path.parent for path in run.rglob("events.out.tfevents.*")}
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def make_job(folder: Path, number: int, overrides: list[str], status: str = "completed", **record: Any) -> None:
    """The folder of a sweep's job, with nothing in it but its record."""
    run = folder / str(number)
    run.mkdir(parents=True)
    known = {"status": status, "overrides": overrides, "train_seconds": 60.0, "best_epoch": 2}
    (run / "results.json").write_text(json.dumps(known | record), encoding="utf-8")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small training on digits, run by the command line, as `train.py` runs it without our tests."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    folder = shared / "finished run"  # with a space: paths need no special care
    with FileLock(shared / "finished run.lock"):
        if not (folder / "terminal.txt").exists():
            folder.mkdir()
            _train_finished_run(folder)
    return only_run(folder)


@pytest.fixture(scope="session")
def model(finished_run: Path) -> TrainedModel:
    """The network of `finished_run`; leave it as it is."""
    return load(finished_run)


def _train_finished_run(folder: Path) -> None:
    done = run_command(
        "train.py",
        *("data=digits", "data.batch_size=32", "trainer.max_epochs=3", "routing.iters=2", "trainer=cpu"),
        *("model.conv_channels=16", "model.primary_capsules=4"),
        cwd=folder,
        OMP_NUM_THREADS=None,
        MPLCONFIGDIR=str(folder / "matplotlib"),  # new, as for someone who uses matplotlib for the first time
    )
    assert done.returncode == 0, done.stderr
    (folder / "errors.txt").write_text(done.stderr, encoding="utf-8")
    (folder / "terminal.txt").write_text(done.stdout, encoding="utf-8")
