"""Claims about work on many things at once."""

import os
import signal
import sys

import pytest

from capsnet.data.parallel import CHUNK, IN_FLIGHT, WORTH_PROCESSES, in_parallel
from capsnet.errors import DataError


def doubled(number):
    return 2 * number


@pytest.mark.parametrize("count", [0, 1, 100, WORTH_PROCESSES + 1])
def test_results_come_in_order(count):
    assert list(in_parallel(doubled, range(count), "doubling")) == list(range(0, 2 * count, 2))


def failing(number):
    raise ValueError(f"number {number}")


@pytest.mark.parametrize("count", [100, 2 * WORTH_PROCESSES])
def test_an_error_comes_out_and_leaves_no_process(count):
    with pytest.raises(ValueError, match="number 0"):
        list(in_parallel(failing, range(count), "failing"))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, threads do the work")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core needs no processes")
def test_a_killed_process_is_said_in_one_line():
    with pytest.raises(DataError, match="a process that read images was killed, probably for lack of memory"):
        list(in_parallel(killed, range(2 * WORTH_PROCESSES), "reading"))


def without_memory(number):
    raise MemoryError


@pytest.mark.parametrize("count", [100, 2 * WORTH_PROCESSES])
def test_too_little_memory_is_said_in_one_line(count):
    with pytest.raises(DataError, match="too little memory"):
        list(in_parallel(without_memory, range(count), "reading"))


def test_only_so_much_is_done_before_the_caller_wants_it(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr("capsnet.data.parallel.WORTH_PROCESSES", 10**9)  # threads, so that what is done is seen here
    done = []
    results = in_parallel(lambda number: done.append(number) or number, range(100 * CHUNK), "counting")
    assert next(results) == 0
    results.close()
    assert len(done) <= (2 * IN_FLIGHT + 1) * CHUNK
