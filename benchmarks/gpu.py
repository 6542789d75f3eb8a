"""Everything that needs a GPU, checked and measured in a few minutes: one JSON file and one table.

    python benchmarks/gpu.py --seconds 360 --out outputs/gpu       on the first GPU
    python benchmarks/gpu.py --device cpu --quick                  the program itself, on a small scale

First come the checks: training, resuming, precisions, compilation, export, explorer, every network and every routing.
Then the measurements: seconds for an epoch of 60,000 images and peak memory, by network, batch size and precision;
the direct and the Fourier convolution; explicit predictions by einsum, in the same turns; the share of an epoch that
the batches take; a training to 97 % on KMNIST-7k. A part that fails is named at the end, and the others go on. A part
that has no time left is named as left out.
"""

import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from implementations import EPOCH, config_with, training_step
from memory import MIB, forget_peak, peak_bytes
from report import machine_name, print_headline, save_results
from timing import seconds, wait_for

from capsnet import compose
from capsnet.augment import Augmentation
from capsnet.data.batches import TrainingBatches
from capsnet.data.source import LabelledImages
from capsnet.errors import ConfigError
from capsnet.reports.evaluation import evaluate_checkpoint
from capsnet.runs.folder import BEST_CHECKPOINT
from capsnet.runs.metrics import read_metrics
from capsnet.settings.config import OPTIONS
from capsnet.text import columns
from capsnet.training.run import train

AIM = 0.97
TINY = ("data=kmnist_7k", "data.limit=600", "data.batch_size=64", "model=small_capsnet", "trainer.max_epochs=2")


# Checks. Each takes the device and an empty folder, and raises if something is wrong.


class SkippedError(Exception):
    """A check that cannot be made here, and why."""


def run(device: str, folder: Path, *overrides: str, resume: bool = False) -> Any:
    """Train with these overrides; gives the record."""
    folder.mkdir(parents=True, exist_ok=True)
    where = "trainer=gpu" if device == "cuda" else "trainer=cpu"
    record = train(compose(*TINY, where, "figures=false", *overrides), folder, overrides, resume=resume)
    assert record.status == "completed", record.reason
    return record


def losses(folder: Path) -> list[float]:
    return read_metrics(folder / "metrics.csv")["train/loss"]


def check_training_and_evaluation(device: str, folder: Path) -> None:
    record = run(device, folder, "figures=true")
    assert record.metrics["test/accuracy"] > 0.2  # chance is 0.1
    again = evaluate_checkpoint(folder / BEST_CHECKPOINT, folder).report
    assert abs(again["accuracy"] - record.metrics["test/accuracy"]) < 0.005


def check_resuming(device: str, folder: Path) -> None:
    exact = ("trainer.precision=32-true", "trainer.deterministic=true")
    run(device, folder / "whole", *exact)
    run(device, folder / "parts", *exact, "trainer.max_epochs=1")
    run(device, folder / "parts", *exact, resume=True)
    assert losses(folder / "whole") == losses(folder / "parts"), (losses(folder / "whole"), losses(folder / "parts"))


def check_precision(precision: str, device: str, folder: Path) -> None:
    if precision == "16-mixed" and device == "cpu":
        raise SkippedError("fp16 is refused on CPUs")
    exact = run(device, folder / "fp32", "trainer.precision=32-true").metrics["train/loss"]
    other = run(device, folder / precision, f"trainer.precision={precision}").metrics["train/loss"]
    assert abs(other - exact) < 0.05 * exact, (other, exact)


def check_ddp(device: str, folder: Path) -> None:
    run(device, folder, "trainer.strategy=ddp", "trainer.devices=1")


def check_compiled(device: str, folder: Path) -> None:
    plain = run(device, folder / "plain", "trainer.precision=32-true", "trainer.max_epochs=1").metrics["train/loss"]
    compiled = run(
        device, folder / "compiled", "trainer.precision=32-true", "trainer.max_epochs=1", "trainer.compile=true"
    )
    assert abs(compiled.metrics["train/loss"] - plain) < 0.01 * plain


def check_export(device: str, folder: Path) -> None:
    skip_without("onnx", "onnxscript", "onnxruntime")
    run(device, folder, "trainer.max_epochs=1")
    command(str(folder), program="capsnet.export")


def check_explorer(device: str, folder: Path) -> None:
    skip_without("starlette", "uvicorn")
    run(device, folder, "trainer.max_epochs=1")
    served = subprocess.Popen(
        [sys.executable, "-m", "capsnet.explore", str(folder), "--port=0", "--no-browser"], stdout=-1, text=True
    )
    try:
        address = next(line for line in served.stdout if "explore it at" in line).split()[3]
        assert b"<html" in urllib.request.urlopen(address, timeout=60).read()
    finally:
        served.kill()
        served.wait()


def skip_without(*packages: str) -> None:
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise SkippedError(f"without {', '.join(missing)}")


def command(*arguments: str, program: str) -> None:
    """Run one of our programs to its end."""
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments], stdout=-1, stderr=-2, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-500:]


def check_network(name: str, device: str, folder: Path) -> None:
    three_steps(device, f"model={name}")


def check_routing(name: str, device: str, folder: Path) -> None:
    """With the first network that takes it."""
    for network in ("small_capsnet", *OPTIONS["model"]):
        try:
            training_step(compose(f"model={network}", f"routing={name}"), 2, "cpu", 3)
        except (ConfigError, TypeError, ValueError):
            continue
        return three_steps(device, f"model={network}", f"routing={name}")
    raise AssertionError("no network takes it")


def three_steps(device: str, *overrides: str) -> None:
    """Train for three steps in each precision; the weights stay finite."""
    for precision in ("fp32", "bf16"):
        step = training_step(compose(*overrides), 8, device, 10, precision)
        for _ in range(3):
            step()
        assert all(bool(torch.isfinite(weight).all()) for weight in step.module.parameters()), precision


def checks() -> dict[str, Callable[[str, Path], None]]:
    """All checks by name, the most telling first."""
    named = {
        "training and evaluation": check_training_and_evaluation,
        "bf16": partial(check_precision, "bf16-mixed"),
        "fp16 with scaled gradients": partial(check_precision, "16-mixed"),
        "resuming": check_resuming,
        "DDP with one process": check_ddp,
        "compilation": check_compiled,
        "export": check_export,
        "explorer": check_explorer,
    }
    named |= {f"network {name}": partial(check_network, name) for name in OPTIONS["model"]}
    return named | {f"routing {name}": partial(check_routing, name) for name in OPTIONS["routing"] if name != "none"}


# Measurements. Each gives rows for the table.


def epoch_row(name: str, step: Callable[[], None], batch_size: int, device: str, quick: bool, **more: Any) -> dict:
    """Seconds for an epoch of 60,000 images by the median step, and the peak of its memory."""
    for _ in range(1 if quick else 5):  # compiles, chooses algorithms, fills caches
        step()
    wait_for(device)
    forget_peak(device)
    times = [seconds(step, device, 1 if quick else 5) for _ in range(1 if quick else 5)]
    rate = batch_size / statistics.median(times)
    row = {"what": name, "batch_size": batch_size, "images_per_second": rate, "epoch_seconds": EPOCH / rate}
    return row | {"peak_mib": peak_bytes(device) / MIB, **more}


def measure_networks(device: str, quick: bool) -> Iterator[dict]:
    sizes = [8] if quick else [128, 512, 2048]
    networks = [
        name for name in ("capsnet", "efficient_capsnet", "res_capsnet", "matrix_capsnet") if name in OPTIONS["model"]
    ]
    for network in networks[:1] if quick else networks:
        for size in sizes:
            for precision in ("fp32", "bf16"):
                step = training_step(compose(f"model={network}"), size, device, 10, precision)
                yield epoch_row(f"{network}, {precision}", step, size, device, quick)


def measure_matrix_units(device: str, quick: bool) -> Iterator[dict]:
    """TF32 beside fp32, and compiled steps, with CUDA graphs and without."""
    size = 8 if quick else 512
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield epoch_row("capsnet, TF32", training_step(compose(), size, device, 10), size, device, quick)
    finally:
        torch.set_float32_matmul_precision(before)
    for mode in ("default",) if quick else ("default", "reduce-overhead"):
        step = training_step(compose(), size, device, 10, "bf16", compile_mode=mode)
        yield epoch_row(f"capsnet, bf16, compiled ({mode})", step, size, device, quick)


def measure_convolutions(device: str, quick: bool) -> Iterator[dict]:
    """The direct convolution, the Fourier one, and explicit predictions, which public implementations form."""
    size = 8 if quick else 512
    for name, config in {
        "direct convolution": compose("trainer.fourier=off"),
        "Fourier convolution": compose("trainer.fourier=on"),
        "explicit predictions (einsum)": config_with("einsum"),
    }.items():
        yield epoch_row(f"capsnet, fp32, {name}", training_step(config, size, device, 10), size, device, quick)


def measure_loader(device: str, quick: bool) -> Iterator[dict]:
    """Batches alone, without training: shift and cutout on images that lie on the device."""
    count, size = (600 if quick else EPOCH), 512
    split = LabelledImages(
        torch.randint(256, (count, 1, 28, 28), dtype=torch.uint8), torch.randint(10, (count,), dtype=torch.int64)
    )
    augmentation: Augmentation = compose("augment=shift_cutout").augment.build()
    batches = TrainingBatches(split, size, device, classes=10, augmentation=augmentation, seed=0, epoch=lambda: 0)

    def epoch() -> None:
        for _ in batches:
            pass

    epoch()
    taken = seconds(epoch, device) * EPOCH / count
    yield {"what": "batches alone, shift and cutout", "batch_size": size, "epoch_seconds": taken,
           "images_per_second": EPOCH / taken, "peak_mib": None}  # fmt: skip


def measure_time_to_accuracy(device: str, quick: bool, folder: Path) -> Iterator[dict]:
    """`experiment=fast` on KMNIST-7k: how long it takes, and what it recognizes of the 2,000 test images."""
    where = "trainer=gpu" if device == "cuda" else "trainer=cpu"
    overrides = ["experiment=fast", where, "figures=false"]
    overrides += ["data.limit=300", "trainer.max_epochs=1", "model.width=8"] if quick else []
    folder.mkdir(parents=True)
    began = time.perf_counter()
    record = train(compose(*overrides), folder, overrides)
    accuracy = record.metrics["test/accuracy"]
    reached = "reached" if accuracy >= AIM else "not reached"
    yield {"what": f"experiment=fast on KMNIST-7k: {accuracy:.2%}, {AIM:.0%} {reached}", "batch_size": 32,
           "epoch_seconds": None, "images_per_second": record.train_images_per_second,
           "seconds": time.perf_counter() - began, "peak_mib": None, "test_accuracy": accuracy}  # fmt: skip


# The program


class Report:
    """What was done so far. It is written after each part."""

    def __init__(self, arguments: argparse.Namespace):
        self.device, self.out = arguments.device, arguments.out
        self.deadline = time.monotonic() + arguments.seconds
        self.parts: list[dict[str, str | float]] = []
        self.rows: list[dict[str, Any]] = []

    def part(self, name: str, do: Callable[[], None]) -> None:
        """Do a part if there is time, and note how it went."""
        began = time.monotonic()
        if began > self.deadline:
            outcome = "left out: no time"
        else:
            try:
                do()
                outcome = "passed"
            except SkippedError as reason:
                outcome = f"skipped: {reason}"
            except Exception as error:  # the others go on
                (self.out / "errors.txt").open("a").write(f"{name}\n{traceback.format_exc()}\n")
                outcome = f"FAILED: {type(error).__name__}: {str(error)[:200]}"
        taken = time.monotonic() - began
        print(f"{taken:6.1f} s  {name}: {outcome}", flush=True)
        self.parts.append({"part": name, "outcome": outcome, "seconds": round(taken, 1)})
        self.write()

    def measure(self, name: str, rows: Callable[[], Iterator[dict]]) -> None:
        def do() -> None:
            for row in rows():
                self.rows.append(row)
                print(f"          {row['what']}, {row['batch_size']}: {cells(row)}", flush=True)
                if time.monotonic() > self.deadline:
                    return

        self.part(name, do)

    def write(self) -> None:
        with contextlib.redirect_stdout(None):
            save_results(self.out / "gpu.json", self.device, self.rows, parts=self.parts)

    def failed(self) -> list[str]:
        return [f"{part['part']}: {part['outcome']}" for part in self.parts if part["outcome"].startswith("FAILED")]


def cells(row: dict) -> list[str]:
    shown = [("epoch_seconds", "{:.1f} s"), ("images_per_second", "{:,.0f}/s"), ("peak_mib", "{:,.0f} MiB")]
    return [form.format(row[key]) if row.get(key) is not None else "-" for key, form in shown]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--seconds", type=float, default=360, help="after these, no further part begins")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"))
    parser.add_argument("--quick", action="store_true", help="few steps of each, to try the program")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here; --device cpu --quick tries the program")
        return 2
    device, quick, out = arguments.device, arguments.quick, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    print_headline(device)
    if device == "cuda":
        print(f"driver and CUDA: {torch.version.cuda}, {torch.cuda.get_device_properties(0)}\n")
    report = Report(arguments)
    named = checks()
    first, rest = dict(list(named.items())[:3]), dict(list(named.items())[3:])
    runs = out / time.strftime("runs_%H-%M-%S")
    for name, check in first.items():
        report.part(name, partial(check, device, runs / name.replace(" ", "_")))
    report.measure("epochs by network", partial(measure_networks, device, quick))
    report.measure("time to accuracy", partial(measure_time_to_accuracy, device, quick, runs / "accuracy"))
    report.measure("matrix units and compilation", partial(measure_matrix_units, device, quick))
    report.measure("convolutions", partial(measure_convolutions, device, quick))
    report.measure("loader", partial(measure_loader, device, quick))
    for name, check in rest.items():
        report.part(name, partial(check, device, runs / name.replace(" ", "_")))
    head = ["what", "batch", "epoch of 60,000", "images", "peak memory"]
    table = columns([head, *([row["what"], str(row["batch_size"]), *cells(row)] for row in report.rows)])
    (out / "table.txt").write_text(f"{machine_name(device)}\n\n{table}\n", encoding="utf-8")
    print(f"\n{table}\n\nwritten to {out}/gpu.json and {out}/table.txt")
    for failure in report.failed():
        print(failure)
    return 1 if report.failed() else 0


if __name__ == "__main__":
    raise SystemExit(main())
