"""Faults, and several programs at once. The campaigns behind the README's counts are run here in part."""

import csv
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import endurance, files, kills
from conftest import DIGITS, REPO, only_run, run_command, wait_until

from capsnet.checkpoint import read_checkpoint


def start(*arguments, cwd, **more):
    command = [sys.executable, str(REPO / "train.py"), *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


class TestCampaigns:
    def test_broken_overrides_end_in_one_line_before_any_training(self):
        command = [sys.executable, str(REPO / "tests/campaigns/overrides.py"), "--count=250"]
        halves = [subprocess.Popen([*command, f"--seed={seed}"], stdout=-1, stderr=-2, text=True) for seed in (1, 2)]
        for process in halves:
            printed, _ = process.communicate(timeout=600)
            assert process.returncode == 0, printed[-3000:]
            assert int(printed.split("\n")[-2].split()[0]) >= 250

    def test_damaged_files_are_refused_or_called_other_than_official(self, tmp_path):
        chance = random.Random(0)
        assert sum(files.damage_data(tmp_path, 25, chance).values()) == 25 * 4 * 3
        assert sum(files.damage_checkpoint(tmp_path, 25, chance).values()) == 25 * 3

    def test_killed_runs_end_with_the_metrics_of_an_undisturbed_one(self, tmp_path):
        assert sum(kills.campaign(2, tmp_path, random.Random(0)).values()) == 2

    def test_memory_and_open_files_do_not_grow(self, tmp_path):
        gauge = endurance.campaign(30, tmp_path)
        assert max(gauge.files[10:]) <= max(gauge.files[:10])
        assert max(gauge.mebibytes[10:]) < max(gauge.mebibytes[:10]) + 40  # an epoch's tensors come to some 20


class TestAtOnce:
    def test_runs_and_sweeps_started_in_the_same_second_have_folders_of_their_own(self, tmp_path):
        runs = [start(*DIGITS, "trainer.max_epochs=1", f"seed={seed}", cwd=tmp_path) for seed in (1, 2)]
        sweeps = [start("-m", *DIGITS, "trainer.max_epochs=1", f"seed={seed}", cwd=tmp_path) for seed in (3, 4)]
        for process in (*runs, *sweeps):
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
        records = [json.loads(path.read_text()) for path in (tmp_path / "outputs").rglob("results.json")]
        assert sorted(record["seed"] for record in records) == [1, 2, 3, 4]
        assert all(f"seed={record['seed']}" in record["overrides"] for record in records)
        assert len(list((tmp_path / "outputs/sweeps").glob("*/sweep.csv"))) == 2

    def test_of_two_runs_started_in_one_folder_one_is_refused_and_the_other_left_in_peace(self, tmp_path):
        runs = [start(*DIGITS, "trainer.max_epochs=1", "hydra.run.dir=same", cwd=tmp_path) for _ in range(2)]
        ended = sorted((process.communicate(timeout=240)[1], process.returncode) for process in runs)
        assert [code for _, code in ended] == [0, 2], ended
        assert "same: " in ended[1][0]
        assert json.loads((tmp_path / "same/results.json").read_text())["status"] == "completed"
        assert (tmp_path / "same/.hydra/config.yaml").is_file()

    def test_a_second_sweep_in_the_folder_of_one_that_runs_is_refused(self, tmp_path):
        sweep = ("-m", *DIGITS, "seed=1", "hydra.sweep.dir=one")
        first = start(*sweep, "trainer.max_epochs=10000", cwd=tmp_path)
        try:
            wait_until((tmp_path / "one/0/checkpoints/last.ckpt").exists, first)
            for arguments in (sweep, ("resume=one/0",)):
                second = run_command("train.py", *arguments, cwd=tmp_path)
                assert second.returncode == 2
                assert "another process is at work in this folder" in second.stderr
                assert len(second.stderr.strip().splitlines()) == 1
            assert first.poll() is None
        finally:
            first.kill()
            first.communicate()

    def test_evaluation_and_tensorboard_beside_a_running_training(self, tmp_path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        process = start(*DIGITS, "trainer.max_epochs=10000", "hydra.run.dir=run", cwd=tmp_path)
        wait_until((tmp_path / "run/checkpoints/best.ckpt").exists, process)
        curves = EventAccumulator(str(tmp_path / "run")).Reload()
        done = run_command("evaluate.py", "run=run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        curves.Reload()
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        with (tmp_path / "run/metrics.csv").open() as file:
            epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
        assert epochs == list(range(1, len(epochs) + 1))
        assert len(epochs) == len(curves.Reload().Scalars("train/loss"))


class TestFullDisk:
    """A limit on the size of a file fails a write as a full disk does."""

    def test_ends_the_training_with_a_clear_message_and_leaves_the_checkpoint_before(self, tmp_path):
        process = start(*DIGITS, "trainer.max_epochs=10000", "hydra.run.dir=run", cwd=tmp_path)
        last = tmp_path / "run/checkpoints/last.ckpt"
        wait_until(last.exists, process)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (last.stat().st_size // 2, resource.RLIM_INFINITY))
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "a checkpoint cannot be saved" in errors
        assert len(errors.strip().splitlines()) == 1
        record = json.loads((tmp_path / "run/results.json").read_text())
        assert record["status"] == "failed"
        assert "a checkpoint cannot be saved" in record["reason"]
        assert read_checkpoint(last)["epoch"] + 1 >= record["epochs"] - 1
        assert not list((tmp_path / "run").rglob("*.part"))
        done = run_command("train.py", "resume=run", f"trainer.max_epochs={record['epochs'] + 1}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
    def test_a_disk_that_is_full_ends_it_too(self, tmp_path):
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "none", str(disk)], check=False).returncode:
            pytest.skip("a small disk cannot be mounted here")
        try:
            done = run_command("train.py", *DIGITS, "trainer.max_epochs=3", f"hydra.run.dir={disk}/run", cwd=tmp_path)
            assert done.returncode == 1
            assert "No space left" in done.stderr or "cannot be saved" in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
            for checkpoint in disk.rglob("*.ckpt"):
                read_checkpoint(checkpoint)
        finally:
            subprocess.run(["umount", str(disk)], check=True)


class TestNames:
    @pytest.mark.parametrize("name", ['it\'s "two" words, a=b; #1 & $x', "日本語 {y} (z) [1]"])
    def test_folders_may_have_any_name(self, tmp_path, name):
        folder = tmp_path / name
        folder.mkdir()
        done = run_command("train.py", "-m", *DIGITS, "seed=1", "trainer.max_epochs=1", cwd=folder)
        assert done.returncode == 0, done.stderr
        (sweep,) = (folder / "outputs/sweeps").iterdir()
        run = sweep.rename(folder / f"{name} too") / "0"
        (evaluate,) = [line.split("evaluate", 1)[1] for line in done.stdout.splitlines() if "  evaluate " in line]
        missing = subprocess.run(evaluate, shell=True, cwd=folder, capture_output=True, text=True, check=False)
        assert missing.returncode == 2  # it has just been renamed
        assert "there is no such folder" in missing.stderr
        for program, *arguments in (("evaluate.py", f"run={run}"), ("train.py", f"resume={run.parent}")):
            done = run_command(program, *arguments, cwd=tmp_path)
            assert done.returncode == 0, done.stderr

    def test_control_characters_of_a_foreign_record_do_not_reach_the_terminal(self, tmp_path):
        (tmp_path / "0").mkdir()
        record = {"status": "failed\033[2J", "overrides": ["seed=\033]0;title\a1"], "reason": "\033[31mred"}
        (tmp_path / "0/results.json").write_text(json.dumps(record))
        command = [sys.executable, "-m", "capsnet.sweep", str(tmp_path)]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "\033" not in done.stdout
        assert "\\x1b[2J" in done.stdout

    def test_an_error_stays_on_one_line_whatever_it_quotes(self, tmp_path):
        done = run_command("train.py", "data.root='a\nb\033[2J'", "data.download=false", cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert "\033" not in done.stderr


class TestRerun:
    @pytest.fixture
    def copied(self, finished_run, tmp_path):
        return Path(shutil.copytree(finished_run, tmp_path / "earlier"))

    def test_repeats_a_run_to_the_last_digit_in_a_new_folder(self, copied, tmp_path):
        done = run_command("train.py", f"rerun={copied}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Identical to earlier: every metric of 3 epochs, and the test's" in done.stdout
        run = only_run(tmp_path)
        assert (run / "metrics.csv").read_bytes() == (copied / "metrics.csv").read_bytes()
        before, after = (json.loads((folder / "results.json").read_text()) for folder in (copied, run))
        for name in ("overrides", "config_sha256", "dataset", "test_loss", "git_commit", "git_dirty"):
            assert before[name] == after[name]
        assert (run / ".hydra/config.yaml").is_file()

    def test_says_what_differs(self, copied, tmp_path):
        record = json.loads((copied / "results.json").read_text())
        record["versions"]["torch"] = "1.0"
        record["dataset"]["files"]["digits"] = "0" * 64
        record["test_loss"] = 0.5
        (copied / "results.json").write_text(json.dumps(record))
        done = run_command("train.py", f"rerun={copied}", cwd=tmp_path)
        assert done.returncode == 1
        printed = done.stdout
        assert "(then 1.0)" in printed
        assert "digits another file" in printed
        assert "(then 0.5)" in printed
        assert "Identical" not in printed

    def test_a_shortened_table_of_metrics_is_not_identical(self, copied, tmp_path):
        lines = (copied / "metrics.csv").read_text().splitlines(keepends=True)
        (copied / "metrics.csv").write_text("".join(lines[:2]))
        done = run_command("train.py", f"rerun={copied}", cwd=tmp_path)
        assert done.returncode == 1
        assert "Identical" not in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["seed=3"], "seed: cannot change"),
            (["data.batch_size=64"], "data.batch_size: cannot change"),
            (["-m"], "not together with -m"),
        ],
    )
    def test_is_of_the_same_run_only(self, copied, tmp_path, arguments, named):
        done = run_command("train.py", f"rerun={copied}", *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert named in done.stderr
        assert not (tmp_path / "outputs").exists()

    def test_of_what_is_no_run_is_refused(self, tmp_path):
        for content in (None, "not JSON", "[]"):
            (tmp_path / "run").mkdir(exist_ok=True)
            if content is not None:
                (tmp_path / "run/results.json").write_text(content)
            for word in ("rerun", "resume"):
                done = run_command("train.py", f"{word}=run", cwd=tmp_path)
                assert done.returncode == 2
                assert len(done.stderr.strip().splitlines()) == 1
