"""The summary of a sweep, from folders of jobs made here."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import wait_until

from capsnet.compose import quoted
from capsnet.errors import CheckpointError, ConfigError
from capsnet.resume import sweep_arguments
from capsnet.sweep import Plan, panels, progress, progress_lines, read_jobs, read_plan, summarise, write_plan
from capsnet.sweep_job import record_failure


def make_job(folder: Path, number: int, overrides: list[str], status: str = "completed", **record) -> None:
    run = folder / str(number)
    run.mkdir(parents=True)
    record = {"status": status, "overrides": overrides, "train_seconds": 60.0, "best_epoch": 2, **record}
    (run / "results.json").write_text(json.dumps(record))


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "sweep"
    overrides = [
        ["data=digits", f"routing.iters={iters}", f"model.dropout={dropout}"]
        for iters in (1, 3)
        for dropout in (0, 0.5)
    ]
    for number, accuracy in enumerate((0.91, 0.93, 0.97)):
        make_job(folder, number, overrides[number], val_accuracy=accuracy, test_accuracy=accuracy - 0.02)
    make_job(folder, 3, overrides[3], "failed", reason='OutOfMemoryError: it, was = "large"\nsecond line')
    write_plan(folder, overrides)
    return folder


def test_table_is_sorted_by_validation_accuracy_and_has_a_row_per_job(sweep):
    summarise(sweep)
    with (sweep / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["2", "1", "0", "3"]
    assert rows[0] == {
        "job": "2",
        "routing.iters": "3",
        "model.dropout": "0",
        "status": "completed",
        "val_accuracy": "0.97",
        "test_accuracy": "0.95",
        "seconds": "60.0",
        "best_epoch": "2",
        "reason": "",
    }
    assert rows[3]["status"] == "failed"
    assert rows[3]["reason"] == 'OutOfMemoryError: it, was = "large"\nsecond line'


def test_summary_shows_the_best_run_and_how_to_evaluate_it(sweep):
    text = summarise(sweep)
    assert f"best       {sweep}/2  (routing.iters=3 model.dropout=0)" in text
    assert f"evaluate.py run={sweep}/2" in text
    assert "data=digits" not in text  # the same for all
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_jobs_that_have_not_begun_are_counted_as_missing(sweep):
    for file in (sweep / "3").iterdir():
        file.unlink()
    assert "1 of 4 jobs are not finished" in summarise(sweep)


def test_a_record_that_is_not_json_is_a_row(sweep):
    (sweep / "1" / "results.json").write_text("{")
    assert [job.status for job in read_jobs(sweep)] == ["completed", "unreadable", "completed", "failed"]
    assert "unreadable" in summarise(sweep)


def test_without_a_plan_the_swept_keys_are_those_that_differ(sweep):
    (sweep / "sweep.json").unlink()
    header = summarise(sweep).splitlines()[0].split()
    assert header == ["job", "routing.iters", "model.dropout", "validation", "test", "time", "status"]


def test_several_seeds_are_summed_up_by_mean_and_deviation(tmp_path):
    for seed, accuracy in enumerate((0.90, 0.92, 0.94)):
        make_job(tmp_path, seed, [f"seed={seed}"], val_accuracy=accuracy)
    write_plan(tmp_path, [[f"seed={seed}"] for seed in range(3)])
    assert "over 3 seeds (mean ± standard deviation): validation accuracy 92.00% ± 2.00%" in summarise(tmp_path)


def test_panels_group_jobs_by_value_in_numerical_order():
    def job(number, iters, accuracy):
        from capsnet.sweep import Job

        return Job(number, Path(), "completed", {"routing.iters": iters}, accuracy)

    jobs = [job(0, "10", 0.5), job(1, "2", 0.6), job(2, "2", 0.8), job(3, "two", 0.1)]
    found = panels(jobs, ["routing.iters"])["routing.iters"]
    assert list(found.items()) == [("2", [0.6, 0.8]), ("10", [0.5]), ("two", [0.1])]


def test_the_line_of_a_job_tells_its_number_values_and_accuracy(sweep):
    jobs, plan = read_jobs(sweep), read_plan(sweep)  # three had ended before the plan; one was to be tried again
    assert progress(jobs[1], plan, 1).startswith(
        "[4/4] job 1  routing.iters=1 model.dropout=0.5  validation accuracy 93.00%"
    )
    assert "OutOfMemoryError" in progress(jobs[3], plan, 1)


def test_time_left_counts_the_jobs_of_this_start_alone(sweep):
    plan = Plan(12, ["routing.iters"], time.time() - 600, finished_before=10)
    line = progress(read_jobs(sweep)[0], plan, 1)
    assert line.startswith("[11/12] job 0")
    assert line.endswith("about 10 min 0 s left")


def test_a_line_is_printed_for_each_job_that_ends_meanwhile_and_for_no_other(tmp_path, capsys):
    overrides = [[f"seed={seed}"] for seed in range(4)]
    make_job(tmp_path, 0, overrides[0], val_accuracy=0.9)
    make_job(tmp_path, 1, overrides[1], "failed", reason="it broke")
    os.utime(tmp_path / "1/results.json", (0, 0))
    assert write_plan(tmp_path, overrides).startswith("4 jobs (1 finished before) over seed in ")
    with progress_lines(tmp_path):
        (tmp_path / "1/results.json").unlink()
        (tmp_path / "1").rmdir()
        make_job(tmp_path, 1, overrides[1], val_accuracy=0.8)
        make_job(tmp_path, 2, overrides[2], "running")
        printed = []
        wait_until(lambda: printed.append(capsys.readouterr().out) or printed[-1], seconds=10)
        assert printed[-1].startswith("[2/4] job 1  seed=1  validation accuracy 80.00%")
        make_job(tmp_path, 3, overrides[3], "diverged", reason="the loss")
    assert capsys.readouterr().out.startswith("[3/4] job 3  seed=3  diverged")


def test_a_folder_without_jobs_is_refused_in_one_line(tmp_path):
    command = [sys.executable, "-m", "capsnet.sweep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "holds no job of a sweep" in done.stderr


class TestSweepArguments:
    def record(self, folder: Path, *overrides: str) -> Path:
        (folder / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": overrides}}}))
        return folder

    def test_are_the_sweeps_own_overrides_and_its_folder(self, tmp_path):
        found = sweep_arguments(
            self.record(tmp_path, "sweep=routing", "model.dropout=0,0.5"), ["hydra/launcher=joblib"]
        )
        assert found[:-1] == ["--multirun", "sweep=routing", "model.dropout=0,0.5", "hydra/launcher=joblib"]
        assert found[-1] == f"hydra.sweep.dir={quoted(str(tmp_path))}"

    @pytest.mark.parametrize(
        "override",
        [
            "--experimental-rerun=x.pickle",
            "--config-dir=elsewhere",
            "+evil=x",
            "hydra.callbacks.x._target_=os.system",
            "+hydra/launcher=evil",
            "+model.x={_target_:os.system}",
            "experiment=../../evil",
            "data.root=${oc.env:SECRET}",
        ],
    )
    def test_overrides_that_could_choose_code_are_refused(self, tmp_path, override):
        with pytest.raises(CheckpointError, match="settings only"):
            sweep_arguments(self.record(tmp_path, override), [])

    def test_settings_cannot_change_in_the_middle_of_a_sweep(self, tmp_path):
        with pytest.raises(ConfigError, match="middle of a sweep"):
            sweep_arguments(self.record(tmp_path, "seed=1,2"), ["trainer.max_epochs=20"])

    @pytest.mark.parametrize("text", ["", "- a", "hydra: {overrides: {task: x}}", "\0", "a: [", "hydra: 3"])
    def test_a_damaged_record_is_refused(self, tmp_path, text):
        (tmp_path / "multirun.yaml").write_text(text)
        with pytest.raises(CheckpointError, match=r"multirun\.yaml"):
            sweep_arguments(tmp_path, [])


def test_a_study_that_asks_for_what_is_not_searched_is_refused(tmp_path):
    optuna = pytest.importorskip("optuna")
    from hydra_plugins.capsnet_sweepers import _refuse_foreign

    space = {"optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2)}
    _refuse_foreign({"optimizer.lr": 1e-3}, space, tmp_path)
    for params in ({"+hydra.job.env_set.PATH": "here"}, {"optimizer.lr": 5.0}, {"optimizer.lr": "1 hydra.sweep.dir=/"}):
        with pytest.raises(ConfigError, match="not in the space that is searched"):
            _refuse_foreign(params, space, tmp_path)


def test_a_failure_keeps_what_the_record_knows_and_a_later_one_replaces_its_reason(tmp_path):
    make_job(tmp_path, 0, ["seed=0"], "running", parameters=5)
    record_failure(tmp_path / "0", ["seed=0"], "killed")
    (job,) = read_jobs(tmp_path)
    assert (job.status, job.reason) == ("failed", "killed")
    assert json.loads((tmp_path / "0/results.json").read_text())["parameters"] == 5
    os.utime(tmp_path / "0/results.json", (0, 0))
    record_failure(tmp_path / "0", ["seed=0"], "no files", since=time.time())
    assert read_jobs(tmp_path)[0].reason == "no files"
    record_failure(tmp_path / "0", ["seed=0"], "of no moment", since=time.time() - 60)
    assert read_jobs(tmp_path)[0].reason == "no files"
