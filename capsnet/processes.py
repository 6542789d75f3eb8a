"""Several processes on one machine that train one network together: one per GPU, or some on the CPU.

Lightning's own launcher starts each further process with the whole command line again; in a sweep, that runs the sweep
again. Here each of them is given the one config that it is to train.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port

from .config import Config

log = logging.getLogger(__name__)

ENDING_SECONDS = 10  # for a process to end by itself once its training has


class OneMachine(LightningEnvironment):
    """A process's place among those of one machine.

    Args:
        local_rank: its number; 0 is the one that starts the others.
        port: where process 0 is met; None chooses a free one.
    """

    def __init__(self, local_rank: int = 0, port: int | None = None):
        super().__init__()
        self._local_rank, self._main_port = local_rank, port or find_free_network_port()

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    def local_rank(self) -> int:
        return self._local_rank

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """Nothing was put into the process's environment that would have to go."""


@contextlib.contextmanager
def further_processes(
    environment: OneMachine, processes: int, config: Config, run_dir: Path, resume: bool
) -> Iterator[None]:
    """Start processes 1 to `processes` - 1 of a training, and see that they are gone afterwards, whatever happens.

    Where one of them fails, this process is asked to end, too, and made to where it waits for the other in vain.
    """
    started, over = [], threading.Event()
    try:
        for rank in range(1, processes):
            order = {
                "config": asdict(config),
                "run_dir": str(run_dir.absolute()),
                "resume": resume,
                "local_rank": rank,
                "port": environment.main_port,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.further_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=_environment_of_children(),
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others
            )
            started.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(order).encode() + b"\n")
            threading.Thread(target=_watch, args=(process, over), daemon=True).start()
            process.stdin.flush()  # and left open: when it closes, by whatever end of this process, the other one ends
        yield
        over.set()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_SECONDS)
    finally:
        over.set()
        for process in started:
            process.kill()
            process.communicate()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the next training of this process makes its own


def _watch(process: subprocess.Popen, over: threading.Event) -> None:
    if process.wait() == 0 or over.is_set():
        return
    log.error("another process of this training has failed, with exit code %d", process.returncode)
    os.kill(os.getpid(), signal.SIGTERM)
    if not over.wait(ENDING_SECONDS):  # it waits for what will not come
        os._exit(1)


def _environment_of_children() -> dict[str, str]:
    search = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search))}


def one_gpu_of_several(number: int) -> None:
    """Let this process see one of the machine's GPUs: its share, where jobs run beside each other in processes.

    A process that does several jobs, one after the other, stays with the GPU of its first.

    Args:
        number: of the job; jobs take the GPUs in turn.
    """
    if (count := torch.cuda.device_count()) > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % count]


@contextlib.contextmanager
def share_of_threads(processes: int) -> Iterator[None]:
    """Let this process, and those it starts meanwhile, compute on a share of the processor: they are `processes`."""
    threads, variable = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    share = max(1, threads // processes)
    os.environ["OMP_NUM_THREADS"] = str(share)
    torch.set_num_threads(share)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if variable is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = variable
