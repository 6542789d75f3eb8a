"""Sweeps by the command line: every combination, or a search."""

import os
import signal

import pytest
from conftest import (
    DIGITS,
    REPO,
    only_sweep,
    record_of,
    run_command,
    run_in_process,
    start_command,
    table,
    wait_until,
)
from omegaconf import OmegaConf

from capsnet.settings.config import OPTIONS

NETWORKS = [name for name in OPTIONS["model"] if name != "small_capsnet"]  # which is capsnet with other settings


def test_the_sweep_of_networks_has_networks_that_there_are():
    swept = OmegaConf.load(REPO / "configs/sweep/networks.yaml").hydra.sweeper.params.model
    assert set(swept.split(",")) <= set(NETWORKS)


def test_what_only_a_job_knows_and_a_bug_of_a_plugin_stop_no_sweep(tmp_path):
    (tmp_path / "fussy.py").write_text(FUSSY)
    fussy = ("plugin=fussy.py", "loss=fussy", "loss.weight=1,5", "figures=false")
    later = ("+hydra.job.env_set.LABEL=mine", "loss.label=${oc.env:LABEL}", "trainer.max_epochs=1")
    done = run_in_process("train.py", "-m", *DIGITS, *fussy, *later, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    rows = table(only_sweep(tmp_path) / "sweep.csv")
    assert {row["loss.weight"]: row["status"] for row in rows} == {"1": "completed", "5": "failed"}
    assert "five is too much" in next(row["reason"] for row in rows if row["status"] == "failed")


FUSSY = """
from dataclasses import dataclass

@dataclass
class Fussy:
    weight: int = 1
    label: str = ""

    def check(self):
        if self.weight == 5:
            raise ValueError("five is too much")

    def build(self):
        return lambda output, images, labels: self.weight * output.scores.square().mean()

OPTIONS = {"loss": {"fussy": Fussy}}
"""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-m", "routing.iters=0,-1"), "routing.iters=0: must be at least 1"),
        (("-m", "seed=range(3,3)"), "this sweep has no jobs"),
        (("--config-dir=mine", "sweep=two"), "sweep=two: add -m, or write  hydra: {mode: MULTIRUN}"),
        (("sweep=optuna", "hydra.sweeper.trials=0"), "hydra.sweeper.trials=0: must be a whole number, at least 1"),
        (("sweep=optuna", "hydra.sweeper.seed=x"), "hydra.sweeper.seed=x: must be a whole number, at least 0"),
    ],
)
def test_a_sweep_that_cannot_do_anything_right_does_not_start(tmp_path, arguments, reason):
    if "sweep=optuna" in arguments:
        pytest.importorskip("optuna")
    (tmp_path / "mine/sweep").mkdir(parents=True)
    (tmp_path / "mine/sweep/two.yaml").write_text("# @package _global_\nhydra: {sweeper: {params: {seed: '1,2'}}}\n")
    done = run_in_process("train.py", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_networks_side_by_side_are_summed_up_by_network(tmp_path):
    networks = ["efficient_capsnet", "small_cnn"]
    arguments = ("-m", "sweep=networks", "experiment=smoke", "seed=0,1", f"model={','.join(networks)}")
    done = run_in_process("train.py", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = table(only_sweep(tmp_path) / "summary.csv")
    assert {row["model"] for row in rows} == set(networks)
    assert {row["seeds"] for row in rows} == {"2"}
    assert all(float(row[f"{split}_images_per_second"]) > 0 for row in rows for split in ("train", "inference"))
    assert len({row["parameters"] for row in rows}) == len(networks)


def test_a_job_that_fails_is_a_row_and_the_others_continue(tmp_path):
    arguments = ("-m", *DIGITS, "routing.iters=0,2", "trainer.max_epochs=1")
    done = run_in_process("train.py", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("job 0 is going to fail: routing.iters=0: must be at least 1")
    folder = only_sweep(tmp_path)
    best, failed = table(folder / "sweep.csv")
    assert (best["job"], best["routing.iters"], best["status"]) == ("1", "2", "completed")
    assert float(best["val_accuracy"]) > 0
    assert (failed["job"], failed["status"]) == ("0", "failed")
    assert failed["reason"] == "routing.iters=0: must be at least 1 and at most 1000"
    assert [line[:5] for line in done.stdout.splitlines() if line.startswith("[")] == ["[1/2]", "[2/2]"]
    assert "train loss" not in done.stdout  # but in each job's own log
    assert "train loss" in (folder / "1/train.log").read_text()
    assert (folder / "sweep.png").is_file()


@pytest.mark.slow
def test_an_interrupted_sweep_is_summed_up_and_continued_by_one_command(tmp_path):
    sweep = ("-m", *DIGITS, "trainer.max_epochs=4", "hydra.sweep.dir=a sweep")
    process = start_command("train.py", *sweep, "seed=1,2,3", cwd=tmp_path)
    folder = tmp_path / "a sweep"
    wait_until((folder / "1/checkpoints/last.ckpt").exists, process)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=180)
    assert (process.returncode, errors) == (130, "")
    assert printed.rstrip().endswith("train.py 'resume=a sweep'")
    first = (folder / "0/results.json").read_bytes()
    done = run_in_process("train.py", "resume=a sweep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (folder / "0/results.json").read_bytes() == first  # finished before, and not done again
    assert [row["status"] for row in table(folder / "sweep.csv")] == ["completed"] * 3
    (row,) = table(folder / "summary.csv")
    assert row["seeds"] == "3"
    other = run_in_process("train.py", *sweep, "seed=4,5,6", cwd=tmp_path)
    assert other.returncode == 2
    assert "has a sweep with other settings" in other.stderr
    again = run_in_process("train.py", "resume=a sweep", cwd=tmp_path)
    assert again.returncode == 0, again.stderr  # what was refused has changed nothing


KILLS_ITSELF = """
import os, signal
from dataclasses import dataclass

@dataclass
class Deadly:
    deadly: bool = False

    def build(self):
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return lambda images, generator: images

OPTIONS = {"augment": {"deadly": Deadly}}
"""


def alive(group):
    """Is there a process of this group?"""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.mark.slow
def test_if_a_worker_of_joblib_is_killed_its_row_says_why_and_the_others_go_on_with_their_share_of_threads(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "deadly.py").write_text(KILLS_ITSELF)
    given = ("plugin=deadly.py", "augment=deadly", "augment.deadly.deadly=false,true", "hydra.sweep.dir=s")
    settings = (*JOBLIB, *given, *DIGITS, "trainer.max_epochs=1")
    done = run_command("train.py", "-m", *settings, cwd=tmp_path, OMP_NUM_THREADS=None)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    jobs = {job["augment.deadly.deadly"].lower(): job for job in table(tmp_path / "s/sweep.csv")}
    assert {name: job["status"] for name, job in jobs.items()} == {"false": "completed", "true": "failed"}
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert record_of(tmp_path / "s/0")["device"].endswith(", 1 thread" if share == 1 else f", {share} threads")
    assert "its process was killed, probably for lack of memory" in jobs["true"]["reason"]
    assert "resume=s" in done.stdout


@pytest.mark.slow
def test_ctrl_c_in_a_sweep_of_joblib_leaves_no_process_and_resume_continues(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    given = ("-m", *JOBLIB, "seed=0,1", "hydra.sweep.dir=s", *DIGITS, "trainer.max_epochs=12")
    sweep = start_command("train.py", *given, cwd=tmp_path, start_new_session=True)
    wait_until(lambda: all((tmp_path / f"s/{job}/checkpoints/last.ckpt").exists() for job in (0, 1)))
    os.killpg(sweep.pid, signal.SIGINT)
    sweep.communicate(timeout=180)
    assert sweep.returncode == 130
    wait_until(lambda: not alive(sweep.pid))
    assert {record_of(tmp_path / f"s/{job}")["status"] for job in (0, 1)} == {"interrupted"}
    again = run_in_process("train.py", "resume=s", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert {record_of(tmp_path / f"s/{job}")["epochs"] for job in (0, 1)} == {12}


class TestSearch:
    @pytest.mark.slow
    def test_tries_values_in_its_space_and_is_continued_to_more_trials(self, tmp_path):
        optuna = pytest.importorskip("optuna")
        space = ("optimizer.lr=tag(log, interval(1e-3, 4e-3))", "routing.iters=range(1, 3)")
        search = ("hydra.sweeper._target_=hydra_plugins.capsnet.OptunaSweeper", "+hydra.sweeper.seed=0")
        sweep = ("-m", *search, "hydra.sweep.dir=search", "trainer.max_epochs=1", *DIGITS, *space)
        for trials in (2, 3):
            done = run_in_process("train.py", *sweep, f"+hydra.sweeper.trials={trials}", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert done.stdout.count("] job ") == 1  # the third alone was trained
        jobs = table(tmp_path / "search/sweep.csv")
        assert sorted(job["job"] for job in jobs) == ["0", "1", "2"]
        assert all(1e-3 <= float(job["optimizer.lr"]) <= 4e-3 for job in jobs)
        assert {job["routing.iters"] for job in jobs} <= {"1", "2"}

        storage = f"sqlite:///{tmp_path / 'search/study.db'}"
        trials = optuna.load_study(study_name="capsnet", storage=storage).trials
        assert [trial.value for trial in trials] == [
            float(job["val_accuracy"]) for job in sorted(jobs, key=lambda job: int(job["job"]))
        ]

    @pytest.mark.slow
    def test_ends_jobs_early_that_promise_little(self, tmp_path):
        optuna = pytest.importorskip("optuna")
        space = "optimizer.lr=choice(4e-3, 1e-7, 1e-8)"
        search = ("hydra.sweeper._target_=hydra_plugins.capsnet.OptunaSweeper", "+hydra.sweeper.seed=2")
        chosen = ("+hydra.sweeper.sampler=brute_force", "+hydra.sweeper.pruner=halving", "+hydra.sweeper.trials=3")
        sweep = (
            "-m",
            *search,
            *chosen,
            "hydra.sweep.dir=search",
            "trainer.max_epochs=4",
            "monitor=val/loss",
            *DIGITS,
            space,
        )
        done = run_in_process("train.py", *sweep, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        study = optuna.load_study(study_name="capsnet", storage=f"sqlite:///{tmp_path / 'search/study.db'}")
        states = [trial.state.name for trial in study.trials]
        reasons = [
            job["reason"] for job in sorted(table(tmp_path / "search/sweep.csv"), key=lambda job: int(job["job"]))
        ]
        assert "PRUNED" in states
        assert [reason.startswith("ended early by the search") for reason in reasons] == [
            state == "PRUNED" for state in states
        ]

    def test_refuses_to_search_without_validation_images(self, tmp_path):
        pytest.importorskip("optuna")
        search = ("-m", "sweep=optuna", "experiment=best", "hydra.sweep.dir=search")
        done = run_in_process("train.py", *search, cwd=tmp_path)
        assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
        assert "searches by validation accuracy, so data.val_size=0 is refused" in done.stderr

    @pytest.mark.parametrize(
        ("monitor", "direction"),
        [("null", "MAXIMIZE"), ("f1", "MAXIMIZE"), ("val/loss", "MINIMIZE"), ("calibration", "MINIMIZE")],
    )
    def test_goes_where_the_monitored_metric_is_better(self, tmp_path, monitor, direction):
        optuna = pytest.importorskip("optuna")
        search = ("hydra.sweeper._target_=hydra_plugins.capsnet.OptunaSweeper", "+hydra.sweeper.seed=0")
        sweep = ("-m", *search, "+hydra.sweeper.trials=1", "hydra.sweep.dir=search", *DIGITS)
        refused = "routing.iters=range(-2, 0)"  # so that no job has to run
        done = run_in_process("train.py", *sweep, refused, f"monitor={monitor}", cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        study = optuna.load_study(study_name="capsnet", storage=f"sqlite:///{tmp_path / 'search/study.db'}")
        assert study.direction.name == direction
