"""Sweeps through a real SLURM of one node, which is started for these tests where its programs are installed."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import DIGITS, run_command, run_in_process, start_command, table, wait_until

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
ONE_PROCESSOR = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1")
SWEEP = ("-m", *ONE_PROCESSOR, "hydra.sweep.dir=sweep", *DIGITS)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.xdist_group("slurm"),  # one cluster for all
    pytest.mark.skipif(any(shutil.which(name) is None for name in PROGRAMS), reason="SLURM is not installed"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which SLURM's commands reach a cluster of one node, run by this user."""
    pytest.importorskip("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    host, cores = socket.gethostname().partition(".")[0], len(os.sched_getaffinity(0))
    (folder / "spool").mkdir()
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(f"""
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser={os.environ.get("USER", "root")}
SlurmdUser={os.environ.get("USER", "root")}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000
PartitionName=tests Nodes=ALL Default=YES
""")
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    daemons = []
    try:
        for program in ("slurmctld", "slurmd"):
            daemons.append(subprocess.Popen([program, "-D"], env=environment, stderr=subprocess.DEVNULL))
        wait_until(lambda: "idle" in output(["sinfo", "--noheader", "--format=%T"], environment), seconds=360)
        yield environment
    finally:
        subprocess.run(["scancel", "--signal=KILL", "--me"], env=environment, timeout=30, check=False)
        subprocess.run(["scancel", "--me"], env=environment, timeout=30, check=False)
        wait_until(lambda: not output(["squeue", "--noheader"], environment), seconds=360)
        for daemon in daemons:
            daemon.kill()
            daemon.wait()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def output(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False).stdout


def record(run: Path) -> dict:
    """A run's results.json; empty if there is none yet."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((run / "results.json").read_text())
    return {}


def start_sweep(*arguments: str, cwd: Path, slurm: dict[str, str]) -> subprocess.Popen[str]:
    """Start a sweep whose output goes to a file, so that it never waits for a reader."""
    with (cwd / "printed").open("w") as printed:
        return start_command("train.py", *SWEEP, *arguments, cwd=cwd, env=slurm, stdout=printed, stderr=printed)


def test_a_sweep_completes_through_the_queue_and_is_summed_up(slurm, tmp_path):
    arguments = (*SWEEP, "routing.iters=1,2", "trainer.max_epochs=1")
    done = run_command("train.py", *arguments, cwd=tmp_path, timeout=600, **slurm)
    assert done.returncode == 0, done.stderr
    assert "Submitted to SLURM as job " in done.stdout
    assert [line[:5] for line in done.stdout.splitlines() if line.startswith("[")] == ["[1/2]", "[2/2]"]
    jobs = table(tmp_path / "sweep/sweep.csv")
    assert {(job["routing.iters"], job["status"]) for job in jobs} == {(n, "completed") for n in "12"}
    assert (tmp_path / "sweep/sweep.png").is_file()
    assert record(tmp_path / "sweep/0")["device"].endswith(", 1 thread")  # as many as it asked for


@pytest.mark.parametrize("by", ["scontrol requeue", "its time limit's signal"])
def test_a_job_that_is_requeued_continues_from_its_checkpoint(slurm, tmp_path, by):
    process = start_sweep("seed=1", "trainer.max_epochs=60", cwd=tmp_path, slurm=slurm)  # some 10 s
    job = tmp_path / "sweep/0"
    wait_until(lambda: (job / "checkpoints/last.ckpt").exists() or process.poll() is not None)
    (number,) = output(["squeue", "--noheader", "--format=%i"], slurm).split()
    subprocess.run(
        ["scontrol", "requeue", number] if by == "scontrol requeue" else ["scancel", "--signal=USR2", number],
        env=slurm,
        check=True,
    )
    wait_until(lambda: record(job).get("status") == "interrupted")
    assert 1 <= record(job)["epochs"] < 60

    def ended():  # SLURM waits for two minutes before it starts a job again
        subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], env=slurm, check=False)
        return process.poll() is not None

    wait_until(ended, seconds=300, every=0.2)
    assert process.returncode == 0, (tmp_path / "printed").read_text()
    assert record(job)["status"] == "completed"
    assert record(job)["epochs"] == 60
    assert [int(row["epoch"]) for row in table(job / "metrics.csv")] == list(range(1, 61))
    assert (job / "train.log").read_text().count("epoch  1/60") == 1


def test_ctrl_c_leaves_the_jobs_in_the_queue_and_says_how_to_end_them(slurm, tmp_path):
    process = start_command("train.py", *SWEEP, "seed=1", "trainer.max_epochs=10000", cwd=tmp_path, env=slurm)
    wait_until(lambda: (tmp_path / "sweep/0/checkpoints/last.ckpt").exists())
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=180)
    assert process.returncode == 130
    (ending,) = re.findall("scancel .*", printed)
    twice = run_in_process("train.py", f"resume={tmp_path / 'sweep/0'}", cwd=tmp_path)
    assert "in use by another process" in twice.stderr
    subprocess.run(ending.split(), env=slurm, check=True)
    wait_until(lambda: record(tmp_path / "sweep/0").get("status") == "interrupted")


def test_what_slurm_refuses_ends_in_one_line_and_leaves_other_folders_alone(slurm, tmp_path):
    arguments = (*SWEEP, "seed=1", "hydra.launcher.partition=nonsense")
    done = run_command("train.py", *arguments, cwd=tmp_path, timeout=180, **slurm)
    assert done.returncode == 2
    assert "Error: hydra/launcher=slurm: sbatch" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    elsewhere = f"hydra.launcher.submitit_folder={tmp_path}/mine/logs"
    done = run_command("train.py", *arguments, elsewhere, cwd=tmp_path, timeout=180, **slurm)
    assert done.returncode == 2
    assert (tmp_path / "mine/notes.txt").exists()


def test_a_cancelled_job_is_not_waited_for_even_where_slurm_keeps_no_accounts(slurm, tmp_path):
    process = start_sweep("trainer.max_epochs=1,10000", cwd=tmp_path, slurm=slurm)
    wait_until(lambda: (tmp_path / "sweep/1/checkpoints/last.ckpt").exists())
    (array,) = {line.split("_")[0] for line in output(["squeue", "--noheader", "--format=%i"], slurm).split()}
    subprocess.run(["scancel", f"{array}_1"], env=slurm, check=True)
    wait_until(lambda: process.poll() is not None, seconds=360)
    assert process.returncode == 1
    statuses = {row["job"]: row["status"] for row in table(tmp_path / "sweep/sweep.csv")}
    assert statuses == {"0": "completed", "1": "interrupted"}
