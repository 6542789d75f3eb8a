"""Several processes on one machine that train one network together: one per GPU, or some on the CPU.

Lightning's own launcher starts each of them with the whole command line again, which in a sweep would run the sweep
again. Here each process is given the one config that it has to train.
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
from pathlib import Path

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port

from ..errors import ProcessError
from ..settings.config import Config, as_dict
from ..settings.plugins import loaded_plugin
from .choices import Choice

log = logging.getLogger(__name__)

EXIT_SECONDS = 10  # that a process gets to exit by itself after its training


class OneMachine(LightningEnvironment):
    """A process's place among those of one machine.

    Args:
        local_rank: its number; 0 starts the others.
        port: where the others reach process 0; None chooses a free one.
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
        """Nothing to undo: no environment variables were set."""


@contextlib.contextmanager
def further_processes(
    environment: OneMachine,
    processes: int,
    config: Config,
    run_dir: Path,
    resume: bool,
    choice: Choice,
    callbacks: bool,
) -> Iterator[None]:
    """Start processes 1 to `processes` - 1 of a training, and end them afterwards.

    With `callbacks`, they make those that the config names, as this process has: the config is not from a file.

    If one of them fails, this process is terminated too, by force if it is stuck waiting for the other.

    Raises:
        ProcessError: one of them has failed.
    """
    started, over = [], threading.Event()
    try:
        for rank in range(1, processes):
            order = {
                "config": as_dict(config),
                "plugin": str(plugin.path) if (plugin := loaded_plugin()) else None,
                "run_dir": str(run_dir.absolute()),
                "resume": resume,
                "local_rank": rank,
                "port": environment.main_port,
                "computing": choice._asdict(),
                "callbacks": callbacks,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "capsnet.training.further_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=_child_environment(),
                start_new_session=True,  # so that Ctrl-C reaches only this process, which then ends the others
            )
            started.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(order).encode() + b"\n")
            threading.Thread(target=_terminate_if_it_fails, args=(process, over), daemon=True).start()
            process.stdin.flush()  # and left open: it closes when this process ends, and then the other one exits
        yield
        over.set()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EXIT_SECONDS)
    except BaseException as error:
        if isinstance(error, RuntimeError):  # it may be the first to notice that another process has gone
            for process in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
        if codes := [process.returncode for process in started if process.poll()]:
            raise ProcessError(_failure(codes[0])) from error
        raise
    finally:
        over.set()
        for process in started:
            process.kill()
            process.communicate()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the next training in this process makes its own


def _failure(code: int) -> str:
    return f"another process of this training failed with exit code {code}, see above"


def _terminate_if_it_fails(process: subprocess.Popen, over: threading.Event) -> None:
    if process.wait() == 0 or over.is_set():
        return
    os.kill(os.getpid(), signal.SIGTERM)
    if not over.wait(EXIT_SECONDS):  # it is waiting for the process that has failed
        log.error("%s", _failure(process.returncode))
        os._exit(1)


def _child_environment() -> dict[str, str]:
    search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, search))}


def one_gpu_of_several(number: int) -> None:
    """Let this process see only one of the machine's GPUs, for jobs that run in parallel.

    A process that does several jobs, one after the other, keeps the GPU of its first job.

    Args:
        number: of the job; jobs take the GPUs in turn.
    """
    if (count := torch.cuda.device_count()) > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % count]


@contextlib.contextmanager
def share_of_threads(processes: int) -> Iterator[None]:
    """Limit this process, and those it starts meanwhile, to one of `processes` equal shares of the processor."""
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
