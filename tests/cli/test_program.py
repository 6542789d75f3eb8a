"""What happens to a program from outside: signals, closed pipes, full disks, other programs in the same folder."""

import json
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import (
    DIGITS,
    curves_of,
    only_run,
    record_of,
    run_in_process,
    start_command,
    table,
    wait_until,
)

from capsnet.runs.checkpoints import read_checkpoint
from capsnet.training.callbacks import EpochLog

ENDLESS = (*DIGITS, "trainer.max_epochs=10000")


def run_main(body: str, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    """Run a program whose main function has this body."""
    program = f"from capsnet.cli.program import run_program\ndef main():\n    {body}\nrun_program(main)\n"
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **options)


def assert_interrupted(run: Path, code: int | None, printed: str, errors: str) -> None:
    """Assert that a run was ended cleanly, and that its terminal says how to continue."""
    assert (code, errors) == (130, "")
    assert record_of(run)["status"] == "interrupted"
    assert record_of(run)["epochs"] == len(table(run / "metrics.csv"))
    assert (run / "checkpoints/last.ckpt").is_file()
    assert "interrupted" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("  continue ")]
    assert line.endswith(f"train.py resume=outputs/{run.parent.name}/{run.name}")


class TestInterrupt:
    def test_a_signal_while_python_ends_prints_nothing(self, tmp_path):
        done = run_main("import atexit, signal\n    atexit.register(signal.raise_signal, signal.SIGINT)", tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

    def test_a_terminal_that_closes_does_not_end_what_nohup_has_started(self, tmp_path):
        ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
        done = run_main("import signal\n    signal.raise_signal(signal.SIGHUP)", tmp_path, preexec_fn=ignore)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_that_asks_a_program_to_end_ends_the_run_cleanly_and_says_how_to_continue(
        self, tmp_path, monkeypatch, number
    ):
        begin_epoch = EpochLog.on_train_epoch_start

        def signalled(self, trainer, pl_module):
            begin_epoch(self, trainer, pl_module)
            if trainer.current_epoch == 1:
                signal.raise_signal(number)

        monkeypatch.setattr(EpochLog, "on_train_epoch_start", signalled)
        done = run_in_process("train.py", *DIGITS, cwd=tmp_path)
        assert_interrupted(only_run(tmp_path), done.returncode, done.stdout, done.stderr)


class TestAtOnce:
    @pytest.mark.slow
    def test_runs_and_sweeps_started_in_the_same_second_have_folders_of_their_own(self, tmp_path):
        short = (*DIGITS, "trainer.max_epochs=1")
        runs = [start_command("train.py", *short, f"seed={seed}", cwd=tmp_path) for seed in (1, 2)]
        sweeps = [start_command("train.py", "-m", *short, f"seed={seed}", cwd=tmp_path) for seed in (3, 4)]
        for process in (*runs, *sweeps):
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
        records = [json.loads(path.read_text()) for path in (tmp_path / "outputs").rglob("results.json")]
        assert sorted(record["seed"] for record in records) == [1, 2, 3, 4]
        assert all(f"seed={record['seed']}" in record["overrides"] for record in records)
        assert len(list((tmp_path / "outputs/sweeps").glob("*/sweep.csv"))) == 2

    @pytest.mark.slow
    def test_a_running_sweep_is_left_in_peace_by_a_second_one_and_by_a_resumption_of_its_job(self, tmp_path):
        sweep = ("-m", *DIGITS, "seed=1", "hydra.sweep.dir=one", "trainer.max_epochs=10000")
        first = start_command("train.py", *sweep, cwd=tmp_path)
        try:
            wait_until((tmp_path / "one/0/checkpoints/last.ckpt").exists, first)
            for arguments in (sweep, ("resume=one/0",)):
                second = run_in_process("train.py", *arguments, cwd=tmp_path)
                assert second.returncode == 2
                assert "in use by another process" in second.stderr
                assert len(second.stderr.strip().splitlines()) == 1
            assert first.poll() is None
        finally:
            first.kill()
            first.communicate()

    @pytest.mark.slow
    def test_evaluation_and_tensorboard_beside_a_running_training(self, tmp_path):
        run = tmp_path / "run"
        process = start_command("train.py", *ENDLESS, "hydra.run.dir=run", cwd=tmp_path)
        wait_until((run / "checkpoints/best.ckpt").exists, process)
        curves = curves_of(run)
        done = run_in_process("evaluate.py", "run=run", "figures=false", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        for another in (("resume=run", "trainer.max_epochs=20000"), (*ENDLESS, "hydra.run.dir=run")):
            refused = run_in_process("train.py", *another, cwd=tmp_path)
            assert (refused.returncode, refused.stdout) == (2, "")
        curves.Reload()
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        epochs = [int(row["epoch"]) for row in table(run / "metrics.csv")]
        assert epochs == list(range(1, len(epochs) + 1))
        steps = [event.step for event in curves.Reload().Scalars("train/loss")]
        assert steps == [event.step for event in curves_of(run).Scalars("train/loss")]
        assert len(steps) == len(epochs)


class TestFullDisk:
    @pytest.mark.slow
    def test_a_failed_write_ends_the_training_with_a_clear_message_and_leaves_the_checkpoint_before(self, tmp_path):
        run = tmp_path / "run"
        last = run / "checkpoints/last.ckpt"
        process = start_command("train.py", *ENDLESS, "hydra.run.dir=run", cwd=tmp_path)
        wait_until(last.exists, process)
        # A limit on the size of a file fails a write as a full disk does.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (last.stat().st_size // 2, resource.RLIM_INFINITY))
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "a checkpoint cannot be saved" in errors
        assert len(errors.strip().splitlines()) == 1
        record = record_of(run)
        assert record["status"] == "failed"
        assert "a checkpoint cannot be saved" in record["reason"]
        assert read_checkpoint(last)["epoch"] + 1 >= record["epochs"] - 1
        assert not list(run.rglob("*.part"))
        longer = f"trainer.max_epochs={record['epochs'] + 1}"
        done = run_in_process("train.py", "resume=run", longer, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_folders_may_have_any_name(tmp_path):
    name = 'it\'s "two" words, a=b; #1 & $x, 日本語 {y} (z) [1]'
    folder = tmp_path / name
    folder.mkdir()
    done = run_in_process("train.py", "-m", *DIGITS, "seed=1", "trainer.max_epochs=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    (sweep,) = (folder / "outputs/sweeps").iterdir()
    sweep = sweep.rename(folder / f"{name} too")
    (evaluate,) = [line.split("evaluate", 1)[1] for line in done.stdout.splitlines() if "  evaluate " in line]
    words = subprocess.run(f"printf '%s\\0' {evaluate}", shell=True, cwd=folder, capture_output=True, text=True)
    _, program, *arguments, _ = words.stdout.split("\0")
    missing = run_in_process(program, *arguments, cwd=folder)
    assert missing.returncode == 2  # it has just been renamed
    assert "there is no such folder" in missing.stderr
    for program, *arguments in (("evaluate.py", f"run={sweep}/0", "figures=false"), ("train.py", f"resume={sweep}")):
        done = run_in_process(program, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
