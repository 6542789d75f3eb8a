"""Cases that once went wrong and need real processes: signals, closed pipes, FIFOs, what a launcher has left behind."""

import os
import shlex
import signal
import subprocess
import time

import pytest
from conftest import command_line, make_job, record_of, run_command, start_command, wait_until
from test_cases import DIGITS, change_checkpoint, interrupted_run

pytestmark = pytest.mark.slow

ENDLESS = (*DIGITS, "trainer.max_epochs=100000")


class TestSignals:
    def test_a_terminal_that_closes_leaves_an_interrupted_run(self, tmp_path):
        process = start_command("train.py", *ENDLESS, "hydra.run.dir=run", cwd=tmp_path)
        try:
            wait_until((tmp_path / "run/checkpoints/last.ckpt").exists, process)
            process.send_signal(signal.SIGHUP)
            _, errors = process.communicate(timeout=240)
        finally:
            process.kill()
        assert (process.returncode, errors) == (130, "")
        assert record_of(tmp_path / "run")["status"] == "interrupted"

    @pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
    @pytest.mark.parametrize("seconds", [0.2, 0.3, 0.4, 0.8])
    def test_ctrl_c_while_the_program_is_still_loading_shows_no_traceback(self, tmp_path, program, seconds):
        arguments = DIGITS if program == "train.py" else ("run=run",)
        process = start_command(program, *arguments, cwd=tmp_path)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=240)
        assert "Traceback" not in errors
        # The evaluation may have found that there is no run (2), and Python may have ended by then (SIGINT's default).
        assert process.returncode in (130, 2, -signal.SIGINT)
        # A signal waits for the end of an import. On a fast machine, the run has begun by then.
        for record in tmp_path.rglob("results.json"):
            assert record_of(record.parent)["status"] == "interrupted"


def test_a_run_whose_output_head_has_stopped_reading_completes_without_a_word(tmp_path):
    words = command_line("train.py", *DIGITS, "trainer.max_epochs=2", "hydra.run.dir=run")
    command = f"set -o pipefail; {shlex.join(words)} | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert record_of(tmp_path / "run")["status"] == "completed"


class TestPipesInPlaceOfFiles:
    """A program that waits for one does not end before the time limit."""

    @pytest.mark.parametrize("name", ["results.json", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"])
    def test_of_a_run_do_not_make_anything_wait(self, tmp_path, name):
        run = interrupted_run(tmp_path)
        (run / name).unlink()
        os.mkfifo(run / name)
        for program, argument in (("train.py", "resume=run"), ("evaluate.py", "run=run"), ("train.py", "rerun=run")):
            done = run_command(program, argument, cwd=tmp_path, timeout=240)
            assert "Traceback" not in done.stderr
            unneeded = program == "evaluate.py" and name in ("results.json", "checkpoints/last.ckpt")
            assert done.returncode == 2 or unneeded
        if name != "results.json":
            assert record_of(run)["status"] == "interrupted"

    @pytest.mark.parametrize("name", ["0/results.json", "sweep.json", "multirun.yaml"])
    def test_of_a_sweep_do_not_make_anything_wait(self, tmp_path, name):
        make_job(tmp_path / "sweep", 0, ["seed=0"])
        (tmp_path / "sweep" / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / "sweep" / name)
        done = run_command("capsnet.sweeps", "sweep", cwd=tmp_path, timeout=240)
        assert (done.returncode, done.stderr) == (0, "")
        if name == "multirun.yaml":
            done = run_command("train.py", "resume=sweep", cwd=tmp_path, timeout=240)
            assert done.returncode == 2
            assert len(done.stderr.splitlines()) == 1

    def test_of_a_dataset_or_checkpoint_are_refused(self, tmp_path):
        raw = tmp_path / "root/KMNIST/raw"
        raw.mkdir(parents=True)
        for kind in ("train", "t10k"):
            for values in ("images-idx3", "labels-idx1"):
                os.mkfifo(raw / f"{kind}-{values}-ubyte")
        os.mkfifo(tmp_path / "best.ckpt")
        for program, argument in (("train.py", "data.root=root"), ("evaluate.py", "checkpoint=best.ckpt")):
            done = run_command(program, argument, cwd=tmp_path, timeout=240)
            assert done.returncode == 2, done.stderr
            assert len(done.stderr.splitlines()) == 1


class TestLeftoversOfALauncher:
    @pytest.mark.parametrize("name", ["LOCAL_RANK", "RANK", "SLURM_PROCID"])
    def test_a_rank_alone_neither_silences_a_run_nor_takes_its_lock_away(self, tmp_path, name):
        environment = {"LOCAL_RANK": None, "RANK": None, "WORLD_SIZE": None, "SLURM_PROCID": None} | {name: "1"}
        arguments = (*DIGITS, "trainer.max_epochs=1", "hydra.run.dir=run")
        done = run_command("train.py", *arguments, cwd=tmp_path, **environment)
        if name == "LOCAL_RANK":
            assert done.returncode == 2
            assert "LOCAL_RANK is set without WORLD_SIZE" in done.stderr
            assert not (tmp_path / "run").exists()
            return
        assert (done.returncode, done.stderr) == (0, "")
        assert "epoch 1/1" in done.stdout
        assert record_of(tmp_path / "run")["status"] == "completed"

    @pytest.mark.parametrize("tasks", ["", "abc", "-1", "9" * 5000])
    def test_a_number_of_tasks_that_is_none_shows_no_traceback(self, tmp_path, tasks):
        arguments = (*DIGITS, "trainer.max_epochs=1", "hydra.run.dir=run")
        done = run_command("train.py", *arguments, cwd=tmp_path, SLURM_NTASKS=tasks, SLURM_PROCID="0")
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 2)


def test_optimizer_state_of_another_shape_does_not_end_the_process_by_a_signal(tmp_path):
    run = interrupted_run(tmp_path)

    def change(content):
        import torch

        for one in content["optimizer_states"][0]["state"].values():
            one["exp_avg"] = torch.zeros(())

    change_checkpoint(run / "checkpoints/last.ckpt", change)
    done = run_command("train.py", "resume=run", cwd=tmp_path)
    assert done.returncode == 2
    assert "optimizer's state does not fit" in done.stderr
    assert record_of(run)["status"] == "interrupted"
