"""The command lines, run as a person runs them, from a folder that is not the project's."""

import contextlib
import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import DIGITS, REPO, SMALL, only_run, run_command, wait_until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

FIGURES = {"curves", "reconstructions", "perturbations", "confusion"}
RECORD = {
    *("status", "dataset", "overrides", "seed", "parameters", "epochs", "best_epoch", "val_accuracy", "test_accuracy"),
    *("test_loss", "train_seconds", "train_images_per_second", "device", "precision", "versions", "git_commit"),
}
METRICS = {
    f"{split}/{name}"
    for split in ("train", "val")
    for name in ("loss", "margin_loss", "reconstruction_loss", "accuracy")
}


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestTrain:
    def test_leaves_every_file_of_a_runs_folder(self, finished_run):
        for name in (".hydra/config.yaml", ".hydra/overrides.yaml", "train.log", "metrics.csv", "results.json"):
            assert (finished_run / name).is_file(), name
        assert {path.name for path in (finished_run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
        assert {path.stem for path in (finished_run / "figures").glob("*.png")} == FIGURES
        assert len(list(finished_run.glob("events.out.tfevents.*"))) == 1

    def test_learns_digits(self, finished_run):
        assert json.loads((finished_run / "results.json").read_text())["test_accuracy"] > 0.8

    def test_record_is_complete_and_agrees_with_the_metrics(self, finished_run):
        record = json.loads((finished_run / "results.json").read_text())
        assert set(record) >= RECORD
        assert record["status"] == "completed"
        assert (record["epochs"], record["seed"]) == (3, 0)
        assert "routing.iters=2" in record["overrides"]
        counts = {name: record["dataset"][name] for name in ("train", "val", "test")}
        assert counts == {"train": 1293, "val": 144, "test": 360}
        accuracies = [float(row["val/accuracy"]) for row in rows(finished_run)]
        assert record["val_accuracy"] == max(accuracies)
        assert record["best_epoch"] == accuracies.index(max(accuracies)) + 1
        assert record["train_images_per_second"] > 0

    def test_metrics_have_a_row_per_epoch_with_every_name(self, finished_run):
        table = rows(finished_run)
        assert [row["epoch"] for row in table] == ["1", "2", "3"]
        assert set(table[0]) == METRICS | {"epoch", "step", "lr"}
        for row in table:
            total = float(row["train/margin_loss"]) + 0.392 * float(row["train/reconstruction_loss"])
            assert float(row["train/loss"]) == pytest.approx(total, rel=1e-4)
        rates = [float(row["lr"]) for row in table]
        assert rates == pytest.approx([0.001, 0.0009, 0.00081])

    def test_tensorboard_has_curves_figures_and_hyper_parameters(self, finished_run):
        events = EventAccumulator(str(finished_run), size_guidance={"images": 0})
        events.Reload()
        tags = events.Tags()
        assert METRICS | {"lr", "test/accuracy", "test/loss"} <= set(tags["scalars"])
        assert {f"figures/{name}" for name in FIGURES} <= set(tags["images"])
        assert [event.step for event in events.Scalars("val/accuracy")] == [1, 2, 3]
        plugin = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
        assert b"routing.iters" in plugin.content
        record = json.loads((finished_run / "results.json").read_text())
        assert events.Scalars("hparam/test_accuracy")[0].value == pytest.approx(record["test_accuracy"])

    def test_terminal_shows_summary_epochs_and_what_to_do_next(self, finished_run):
        printed = (finished_run.parents[2] / "terminal.txt").read_text()
        for part in ("1,293 training, 144 validation", "parameters", "epoch 3/3", "test accuracy"):
            assert part in printed
        assert f"--logdir outputs/{finished_run.parent.name}/{finished_run.name}" in printed
        log = (finished_run / "train.log").read_text()
        assert all(line in log for line in printed.splitlines())

    def test_checkpoints_hold_nothing_but_tensors_and_plain_values(self, finished_run):
        for name in ("best.ckpt", "last.ckpt"):
            content = torch.load(finished_run / "checkpoints" / name, weights_only=True)
            assert content["capsnet_config"]["routing"]["iters"] == 2

    def test_same_seed_twice_gives_identical_metrics(self, tmp_path):
        metrics = []
        for folder in (tmp_path / "one", tmp_path / "two"):
            folder.mkdir()
            arguments = ("augment=shift_cutout", "model.dropout=0.3", "trainer.max_epochs=2", "seed=5")
            done = run_command("train.py", *DIGITS, *arguments, cwd=folder)
            assert done.returncode == 0, done.stderr
            metrics.append((only_run(folder) / "metrics.csv").read_bytes())
        assert metrics[0] == metrics[1]

    def test_bf16_debug_and_early_stopping_work_together(self, tmp_path):
        arguments = ("data=digits", "trainer=debug", "trainer.precision=bf16-mixed", "early_stopping.patience=1")
        done = run_command("train.py", *arguments, *SMALL[:2], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads((only_run(tmp_path) / "results.json").read_text())["precision"] == "bf16-mixed"

    def test_without_validation_the_newest_checkpoint_is_tested(self, tmp_path):
        done = run_command("train.py", *DIGITS, "data.val_size=0", "trainer.max_epochs=2", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        record = json.loads((only_run(tmp_path) / "results.json").read_text())
        assert (record["val_accuracy"], record["best_epoch"]) == (None, 2)
        assert record["test_accuracy"] > 0.1
        assert {path.name for path in (only_run(tmp_path) / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}

    def test_early_stopping_ends_a_run_that_gets_no_better(self, tmp_path):
        arguments = ("optimizer.lr=1e-12", "early_stopping.patience=2", "trainer.max_epochs=50")
        done = run_command("train.py", *DIGITS, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        record = json.loads((only_run(tmp_path) / "results.json").read_text())
        assert (record["epochs"], record["best_epoch"]) == (3, 1)

    @pytest.mark.parametrize(
        "argument", ["trainer.max_steps=3", "trainer.check_val_every_n_epoch=2", "trainer.precision=64-true"]
    )
    def test_a_completed_run_has_a_best_checkpoint_that_can_be_evaluated(self, tmp_path, argument):
        done = run_command("train.py", *DIGITS, "trainer.max_epochs=3", argument, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        done = run_command("evaluate.py", f"run={only_run(tmp_path)}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    def test_two_processes_train_as_one_does(self, tmp_path):
        last_rows = []
        for processes, trainer in enumerate((["trainer=cpu"], ["trainer=ddp", "trainer.accelerator=cpu"]), start=1):
            folder = tmp_path / str(processes)
            folder.mkdir()
            # 270 images in batches of 67: each is shared unevenly, and the last one holds 2.
            settings = ["data.batch_size=67", "trainer.max_epochs=2", f"trainer.devices={processes}"]
            settings.append("trainer.precision=32-true")
            done = run_command("train.py", *DIGITS[:2], *SMALL[:2], *trainer, *settings, cwd=folder)
            assert done.returncode == 0, done.stderr
            last_rows.append(rows(only_run(folder))[-1])
        alone, together = last_rows
        for name in METRICS:
            assert float(together[name]) == pytest.approx(float(alone[name]), rel=1e-4), name

    def test_two_processes_leave_one_run(self, tmp_path):
        done = run_command("train.py", *DIGITS, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
                           "trainer.max_epochs=2", cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        run = only_run(tmp_path)
        assert json.loads((run / "results.json").read_text())["status"] == "completed"
        assert len(rows(run)) == 2
        assert len(list(run.glob("events.out.tfevents.*"))) == 1
        assert done.stdout.count("epoch 2/2") == 1

    def test_a_killed_run_is_resumed_and_ends_with_the_metrics_of_a_whole_one(self, tmp_path):
        settings = [*DIGITS, "model.dropout=0.5", "augment=shift_cutout", "trainer.max_epochs=4"]
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        assert run_command("train.py", *settings, f"hydra.run.dir={whole}", cwd=tmp_path).returncode == 0
        process = subprocess.Popen(
            [sys.executable, str(REPO / "train.py"), *settings, f"hydra.run.dir={killed}"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until((killed / "checkpoints/last.ckpt").exists)
        process.kill()
        process.wait()
        assert json.loads((killed / "results.json").read_text())["status"] == "running"
        done = run_command("train.py", f"resume={killed}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (killed / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
        assert "epoch 4/4" in (killed / "train.log").read_text()
        again = run_command("train.py", f"resume={killed}", cwd=tmp_path)
        assert again.returncode == 2
        assert "is complete after 4 epochs" in again.stderr

    @pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupt_ends_the_run_cleanly(self, tmp_path, signal_number):
        command = [sys.executable, str(REPO / "train.py"), *DIGITS, "trainer.max_epochs=10000"]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background jobs, as these tests may be, pass on that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            wait_until(lambda: list(tmp_path.rglob("last.ckpt")), process, every=0.2)
            process.send_signal(signal_number)
            printed, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        run = only_run(tmp_path)
        record = json.loads((run / "results.json").read_text())
        assert record["status"] == "interrupted"
        assert record["epochs"] == len(rows(run))
        assert (run / "checkpoints/last.ckpt").is_file()
        assert "interrupted" in printed


class TestSweep:
    def test_a_job_that_fails_is_a_row_and_the_others_go_on(self, tmp_path):
        done = run_command("train.py", "-m", *DIGITS, "routing.iters=0,2", "trainer.max_epochs=1", cwd=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        (folder,) = (tmp_path / "outputs/sweeps").iterdir()
        with (folder / "sweep.csv").open(newline="") as file:
            best, failed = csv.DictReader(file)
        assert (best["job"], best["routing.iters"], best["status"]) == ("1", "2", "completed")
        assert float(best["val_accuracy"]) > 0
        assert (failed["job"], failed["status"]) == ("0", "failed")
        assert failed["reason"] == "routing.iters=0: must be at least 1"
        assert [line[:5] for line in done.stdout.splitlines() if line.startswith("[")] == ["[1/2]", "[2/2]"]
        assert "train loss" not in done.stdout  # but in each job's own log
        assert "train loss" in (folder / "1/train.log").read_text()
        assert (folder / "sweep.png").is_file()

    def test_tensorboard_names_the_jobs_by_what_varies_and_tabulates_it(self, tmp_path):
        done = run_command("train.py", "-m", *DIGITS, "augment=none,shift", "trainer.max_epochs=1,2", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / "outputs/sweeps").iterdir()
        curves = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
        assert sorted(curves.Runs()) == [
            f"{number}/augment={augment},trainer.max_epochs={epochs}"
            for number, (augment, epochs) in enumerate(itertools.product(("none", "shift"), (1, 2)))
        ]
        for run in curves.Runs():
            start = metadata.parse_session_start_info_plugin_data(
                curves.SummaryMetadata(run, metadata.SESSION_START_INFO_TAG).plugin_data.content
            )
            assert set(start.hparams) == {"augment", "trainer.max_epochs"}
            assert f"augment={start.hparams['augment'].string_value}," in run
            assert run.endswith(f"={start.hparams['trainer.max_epochs'].number_value:.0f}")

    def test_an_interrupted_sweep_is_summed_up_and_continued_by_one_command(self, tmp_path):
        command = [sys.executable, str(REPO / "train.py"), "-m", *DIGITS, "seed=1,2,3", "trainer.max_epochs=3"]
        process = subprocess.Popen(
            [*command, "hydra.sweep.dir=a sweep"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        folder = tmp_path / "a sweep"
        wait_until((folder / "1/checkpoints/last.ckpt").exists, process)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert "resume='a sweep'" in printed
        first = (folder / "0/results.json").read_bytes()
        done = run_command("train.py", "resume=a sweep", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (folder / "0/results.json").read_bytes() == first  # finished before, and not done again
        with (folder / "sweep.csv").open(newline="") as file:
            assert [row["status"] for row in csv.DictReader(file)] == ["completed"] * 3
        assert "over 3 seeds (mean ± standard deviation)" in done.stdout
        other = run_command("train.py", "-m", *DIGITS, "seed=4,5,6", "hydra.sweep.dir=a sweep", cwd=tmp_path)
        assert other.returncode == 2
        assert "holds a sweep with other settings" in other.stderr
        again = run_command("train.py", "resume=a sweep", cwd=tmp_path)
        assert again.returncode == 0, again.stderr  # what was refused has changed nothing

    def test_a_search_tries_values_in_its_space_and_is_continued_to_more_trials(self, tmp_path):
        pytest.importorskip("optuna")
        space = ["optimizer.lr=tag(log, interval(1e-3, 4e-3))", "routing.iters=range(1, 3)"]
        search = ["hydra.sweeper._target_=hydra_plugins.capsnet_sweepers.TpeSweeper", "+hydra.sweeper.seed=0"]
        more = [*search, "hydra.sweep.dir=search", "trainer.max_epochs=1", *DIGITS, *space]
        for trials in (2, 3):
            done = run_command("train.py", "-m", *more, f"+hydra.sweeper.trials={trials}", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        assert done.stdout.count("validation accuracy") == 1  # the third alone was trained
        with (tmp_path / "search/sweep.csv").open(newline="") as file:
            jobs = list(csv.DictReader(file))
        assert sorted(job["job"] for job in jobs) == ["0", "1", "2"]
        assert all(1e-3 <= float(job["optimizer.lr"]) <= 4e-3 for job in jobs)
        assert {job["routing.iters"] for job in jobs} <= {"1", "2"}

        import optuna

        storage = f"sqlite:///{tmp_path / 'search/study.db'}"
        trials = optuna.load_study(study_name="capsnet", storage=storage).trials
        assert [trial.value for trial in trials] == [
            float(job["val_accuracy"]) for job in sorted(jobs, key=lambda job: int(job["job"]))
        ]

    def test_joblib_runs_jobs_beside_each_other_each_with_its_share_of_threads(self, tmp_path):
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
        launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        done = run_command("train.py", "-m", *launcher, *DIGITS, "seed=1,2", "trainer.max_epochs=1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / "outputs/sweeps").iterdir()
        records = [json.loads((folder / str(job) / "results.json").read_text()) for job in range(2)]
        assert [record["status"] for record in records] == ["completed"] * 2
        share = max(1, len(os.sched_getaffinity(0)) // 2)
        assert all(record["device"].endswith(f", {share} threads") for record in records)

    def test_two_jobs_of_two_processes_each_are_trained_tested_and_leave_no_process(self, tmp_path):
        trainer = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=2"]
        done = run_command("train.py", "-m", *DIGITS, *trainer, "routing.iters=1,2", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (folder,) = (tmp_path / "outputs/sweeps").iterdir()
        for job, iters in ((0, 1), (1, 2)):
            record = json.loads((folder / str(job) / "results.json").read_text())
            assert (record["status"], record["epochs"]) == ("completed", 2)
            assert f"routing.iters={iters}" in record["overrides"]
            assert record["test_accuracy"] is not None
            assert len(rows(folder / str(job))) == 2
        assert processes_of("further_process", tmp_path) == []

    def test_the_other_processes_end_when_the_first_is_killed(self, tmp_path):
        trainer = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=10000"]
        command = [sys.executable, str(REPO / "train.py"), *DIGITS, *trainer]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: list(tmp_path.rglob("last.ckpt")), process, every=0.1)
        assert len(processes_of("further_process", tmp_path)) == 1
        process.kill()
        process.wait()
        wait_until(lambda: not processes_of("further_process", tmp_path), every=0.1)


def processes_of(name, folder):
    """Command lines of the running processes of that name that were started in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end meanwhile
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if name in command and (process / "cwd").resolve() == folder.resolve():
                found.append(command)
    return found


class TestMistakes:
    """Each ends in one line that names the thing, with exit code 2, no traceback and no folder."""

    @pytest.mark.parametrize(
        ("argument", "named"),
        [
            ("routing.iter=3", "did you mean routing.iters"),
            ("+routing.extra=3", "routing.extra"),
            ("routing.iters=0", "routing.iters=0: must be at least 1"),
            ("routing.iters=many", "routing.iters=many"),
            ("data=imagenet", "data=imagenet: no such option; there are digits"),
            ("experiment=none_such", "experiment=none_such"),
            ("optimizer.lr=.nan", "optimizer.lr"),
            ("model=[1,2]", "model"),
            ("nonsense", "nonsense"),
            ("data.root=/x(1)", "data.root=/x(1)"),
            ("trainer.devices=many", "trainer.devices=many: must be a number"),
            ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0"),
            ("trainer.max_time=soon", "DD:HH:MM:SS"),
        ],
    )
    def test_in_the_config(self, tmp_path, argument, named):
        done = run_command("train.py", argument, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert named in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not list(tmp_path.iterdir())

    def test_full_error_shows_the_traceback(self, tmp_path):
        done = run_command("train.py", "routing.iters=0", cwd=tmp_path, HYDRA_FULL_ERROR="1")
        assert "Traceback" in done.stderr
        assert done.returncode != 0

    def test_missing_data_says_what_to_do(self, tmp_path):
        done = run_command("train.py", "data.download=false", cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert "data=digits" in done.stderr
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_was_there_before_stays(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/notes.txt").touch()
        done = run_command("train.py", "data.download=false", "hydra.run.dir=mine", cwd=tmp_path)
        assert done.returncode == 2
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]

    def test_a_second_run_in_the_same_folder(self, finished_run, tmp_path):
        before = (finished_run / "metrics.csv").read_bytes()
        done = run_command("train.py", *DIGITS, f"hydra.run.dir='{finished_run}'", cwd=tmp_path)
        assert done.returncode == 2
        assert "holds a run already" in done.stderr
        assert (finished_run / "metrics.csv").read_bytes() == before

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["run=nowhere"], "nowhere"),
            (["checkpoint=nothing.ckpt"], "nothing.ckpt"),
            (["outputs"], "KEY=VALUE"),
            (["data.root=x"], "run=RUN_DIR"),
        ],
    )
    def test_in_what_to_evaluate(self, tmp_path, arguments, named):
        done = run_command("evaluate.py", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert named in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


class TestHelp:
    @pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
    def test_lists_groups_options_and_keys(self, tmp_path, program):
        done = run_command(program, "--help", cwd=tmp_path)
        assert done.returncode == 0
        for part in ("augment", "shift_cutout", "kmnist", "fashion_mnist", "routing.iters", "data.root"):
            assert part in done.stdout
        assert not list(tmp_path.iterdir())


class TestEvaluate:
    def test_the_command_that_training_printed_works_as_it_stands(self, finished_run):
        folder = finished_run.parents[2]
        (command,) = re.findall(r"^  evaluate +(.*)$", (folder / "terminal.txt").read_text(), re.MULTILINE)
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "of 360 images" in done.stdout

    def test_writes_the_report_and_prints_it(self, finished_run, tmp_path):
        (finished_run / "evaluation.json").unlink()
        done = run_command("evaluate.py", f"run={finished_run}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        report = json.loads((finished_run / "evaluation.json").read_text())
        assert {"accuracy", "loss", "per_class_accuracy", "confusion"} <= set(report)
        assert f"{report['accuracy']:.2%} of 360 images" in done.stdout
