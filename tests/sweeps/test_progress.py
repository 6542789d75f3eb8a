"""The line in the terminal for a job that has ended."""

import os
import time
from pathlib import Path

import pytest
from conftest import make_job, wait_until

from capsnet.sweeps.jobs import Job
from capsnet.sweeps.plan import Plan, write_plan
from capsnet.sweeps.progress import progress, progress_lines

JOB = Job(
    Path("1"),
    "completed",
    ["data=digits", "routing.iters=1", "model.dropout=0.5"],
    metrics={"val/accuracy": 0.93},
    seconds=58.0,
    total_seconds=63.2,
)


def plan(jobs: int, minutes: float = 10, finished_before: int = 0) -> Plan:
    return Plan(jobs, ["routing.iters", "model.dropout"], time.time() - 60 * minutes, finished_before)


def test_tells_number_values_outcome_its_time_and_the_time_left():
    assert progress(JOB, plan(4), 1) == (
        "[1/4] job 1  routing.iters=1 model.dropout=0.5  validation accuracy 93.00%"
        "  |  took 1 min 3 s, about 30 min 0 s left for the sweep"
    )


@pytest.mark.parametrize(
    ("monitor", "metrics", "told"),
    [
        (
            "val/balanced_accuracy",
            {"val/accuracy": 0.93, "val/balanced_accuracy": 0.5},
            "validation balanced accuracy 50.00%",
        ),
        ("val/loss", {"val/accuracy": 0.93, "val/loss": 0.0512345}, "validation loss 0.05123"),
        ("val/accuracy", {"test/accuracy": 0.9}, "test accuracy 90.00%"),
        ("val/accuracy", {}, "test accuracy -"),
    ],
)
def test_the_outcome_is_the_monitored_metric_without_validation_that_of_the_test(monitor, metrics, told):
    job = Job(Path("1"), "completed", monitor=monitor, metrics=metrics)
    assert progress(job, None, 1).startswith(f"job 1    {told}  |")


def test_time_left_counts_the_jobs_of_this_start_alone():
    line = progress(JOB, plan(12, finished_before=10), 1)
    assert line.startswith("[11/12] job 1")
    assert line.endswith("about 10 min 0 s left for the sweep")


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_of_a_job_that_went_wrong_gives_the_reason_on_lines_of_its_own(status):
    job = Job(Path("3"), status, ["model.dropout=0.5"], reason='OutOfMemoryError: "large"\nsecond line\033[2J')
    first, *reason = progress(job, plan(4), 4).splitlines()
    assert first == f"[4/4] job 3  model.dropout=0.5  {status}  |  took 0.0 s"
    assert reason == ['    OutOfMemoryError: "large"', "    second line\\x1b[2J"]


def test_a_line_is_printed_for_each_job_that_ends_meanwhile_and_for_no_other(tmp_path, capsys):
    overrides = [[f"seed={seed}"] for seed in range(4)]
    make_job(tmp_path, 0, overrides[0], metrics={"val/accuracy": 0.9})
    make_job(tmp_path, 1, overrides[1], "failed", reason="it broke")
    os.utime(tmp_path / "1/results.json", (0, 0))
    line = write_plan(tmp_path, 4, ["seed"], finished_before=1)
    assert line.startswith("4 jobs (1 finished before) over seed in ")
    with progress_lines(tmp_path):
        (tmp_path / "1/results.json").unlink()
        (tmp_path / "1").rmdir()
        make_job(tmp_path, 1, overrides[1], metrics={"val/accuracy": 0.8})
        make_job(tmp_path, 2, overrides[2], "running")
        printed = []
        wait_until(lambda: printed.append(capsys.readouterr().out) or printed[-1], seconds=10)
        assert printed[-1].startswith("[2/4] job 1  seed=1  validation accuracy 80.00%")
        make_job(tmp_path, 3, overrides[3], "diverged", reason="the loss")
    assert capsys.readouterr().out.startswith("[3/4] job 3  seed=3  diverged")
