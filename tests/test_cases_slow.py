"""Cases that once went wrong and need real processes: signals, closed pipes, what a launcher has left behind."""

import shlex
import signal
import subprocess

import pytest
from conftest import command_line, record_of, run_command, start_command, wait_until
from test_cases import DIGITS, change_checkpoint, interrupted_run

pytestmark = pytest.mark.slow


def test_a_terminal_that_closes_leaves_an_interrupted_run(tmp_path):
    process = start_command("train.py", *DIGITS, "trainer.max_epochs=100000", "hydra.run.dir=run", cwd=tmp_path)
    wait_until((tmp_path / "run/checkpoints/last.ckpt").exists, process)
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (130, "")
    assert record_of(tmp_path / "run")["status"] == "interrupted"


def test_a_run_whose_output_head_has_stopped_reading_completes_without_a_word(tmp_path):
    words = command_line("train.py", *DIGITS, "trainer.max_epochs=2", "hydra.run.dir=run")
    command = f"set -o pipefail; {shlex.join(words)} | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert record_of(tmp_path / "run")["status"] == "completed"


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID"])
def test_a_rank_alone_that_a_launcher_has_left_neither_silences_a_run_nor_takes_its_lock_away(tmp_path, name):
    environment = {"LOCAL_RANK": None, "RANK": None, "WORLD_SIZE": None, "SLURM_PROCID": None} | {name: "1"}
    arguments = (*DIGITS, "trainer.max_epochs=1", "hydra.run.dir=run")
    done = run_command("train.py", *arguments, cwd=tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "epoch 1/1" in done.stdout
    assert record_of(tmp_path / "run")["status"] == "completed"


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
