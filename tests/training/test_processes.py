"""Several processes on one machine: they train as one does, share the processor, and end together."""

import contextlib
import os
import signal
from pathlib import Path

import pytest
import torch
from conftest import (
    DIGITS,
    TWO_PROCESSES,
    only_run,
    only_sweep,
    record_of,
    run_command,
    run_in_process,
    start_command,
    table,
    wait_until,
)

from capsnet.data.batches import to_float
from capsnet.runs.trained import load
from capsnet.settings.parse import config_from_dict
from capsnet.training.processes import one_gpu_of_several, share_of_threads


def processes_of(name: str, folder: Path) -> list[int]:
    """Numbers of the running processes with this name in their command line that were started in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if name in command and (process / "cwd").resolve() == folder.resolve():
                found.append(int(process.name))
    return found


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_leave_one_run(tmp_path):
    torch_class = ("optimizer=torch", "optimizer._target_=torch.optim.Adam")
    more = ("trainer.average_weights=0.9", "augment=mixup", *torch_class)
    # 270 images in batches of 67: each is shared unevenly, and the last one holds 2.
    settings = [*DIGITS, "data.batch_size=67", "trainer.max_epochs=2", "trainer.precision=32-true", *more]
    for name in ("alone", "together"):
        (tmp_path / name).mkdir()
    alone = run_in_process("train.py", *settings, cwd=tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    together = run_command("train.py", *settings, *TWO_PROCESSES, cwd=tmp_path / "together")
    assert together.returncode == 0, together.stderr

    expected = table(only_run(tmp_path / "alone") / "metrics.csv")
    run = only_run(tmp_path / "together")
    metrics = table(run / "metrics.csv")
    assert [row["epoch"] for row in metrics] == ["1", "2"]
    assert metrics[0].keys() == expected[0].keys() > {"train/loss", "train/accuracy", "val/loss", "val/accuracy"}
    for name in metrics[-1]:
        assert float(metrics[-1][name]) == pytest.approx(float(expected[-1][name]), rel=1e-4), name
    assert record_of(run)["status"] == "completed"
    assert record_of(run)["device"].endswith("1 thread x 2")
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert together.stdout.count("epoch 2/2") == 1
    assert "batches of 67 (34 in each of 2 processes)" in together.stdout


@pytest.mark.slow
def test_two_jobs_of_two_processes_each_are_trained_tested_and_leave_no_process(tmp_path):
    settings = ("data=digits", "data.limit=300", "data.val_size=60", "model=small_cnn", "trainer.max_epochs=2")
    more = (*TWO_PROCESSES, "trainer.precision=32-true", "figures=false")
    done = run_command("train.py", "-m", *settings, *more, "optimizer.lr=0.001,0.002", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for job, rate in ((0, 0.001), (1, 0.002)):
        run = only_sweep(tmp_path) / str(job)
        record = record_of(run)
        assert (record["status"], record["epochs"]) == ("completed", 2)
        assert f"optimizer.lr={rate}" in record["overrides"]
        assert record["test_accuracy"] is not None
        assert len(table(run / "metrics.csv")) == 2
    assert processes_of("further_process", tmp_path) == []

    # Batch normalization is validated with the statistics that are saved.
    dataset = config_from_dict({"data": {"name": "digits", "limit": 300, "val_size": 60}}).data.build(seed=0)
    dataset.read_training_images()
    images, labels = dataset.val_split
    loss = torch.nn.functional.cross_entropy(load(run).output(to_float(images)).scores, labels)
    saved = table(run / "metrics.csv")[record["best_epoch"] - 1]
    assert float(saved["val/loss"]) == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.slow
def test_the_other_processes_end_when_the_first_is_killed(tmp_path):
    process = start_command("train.py", *DIGITS, *TWO_PROCESSES, "trainer.max_epochs=10000", cwd=tmp_path)
    wait_until(lambda: list(tmp_path.rglob("last.ckpt")), process, every=0.1)
    assert len(processes_of("further_process", tmp_path)) == 1
    process.kill()
    process.communicate()
    wait_until(lambda: not processes_of("further_process", tmp_path), every=0.1)


@pytest.mark.slow
def test_the_first_process_ends_when_another_is_killed(tmp_path):
    process = start_command("train.py", *DIGITS, *TWO_PROCESSES, "trainer.max_epochs=10000", cwd=tmp_path)
    wait_until(lambda: list(tmp_path.rglob("last.ckpt")), process, every=0.1)
    (other,) = processes_of("further_process", tmp_path)
    os.kill(other, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    record = record_of(only_run(tmp_path))
    assert (record["status"], "process" in record["reason"]) == ("failed", True)


def test_processes_share_the_processor_and_give_it_back(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        with share_of_threads(2):
            assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (4, "4")
        assert (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")) == (8, None)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("visible", "number", "count", "chosen"),
    [("", 0, 4, "0"), ("", 6, 4, "2"), ("5,7", 1, 2, "7"), ("5", 3, 1, "5"), ("", 2, 0, "")],
)
def test_jobs_take_the_gpus_in_turn(monkeypatch, visible, number, count, chosen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    one_gpu_of_several(number)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen
