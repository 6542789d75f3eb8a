"""Cases that once went wrong and need real processes: signals, closed pipes, what a launcher has left behind."""

import pytest
from conftest import record_of, run_command
from test_cases import DIGITS, change_checkpoint, interrupted_run

pytestmark = pytest.mark.slow


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
