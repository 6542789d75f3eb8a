"""Work on many small things by all processor cores, results in order, with a progress bar. Imports no torch."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from ..errors import DataError

Item, Result = TypeVar("Item"), TypeVar("Result")

CHUNK = 64  # items that a process gets at a time, at most; fewer if there would be too few chunks for all cores
IN_FLIGHT = 4  # chunks for each core that are worked on or wait for the caller, so that few results are held
WORTH_PROCESSES = 1_000  # items; for fewer, threads are as fast

# From Python 3.12 on. The copies need none of this process's threads.
warnings.filterwarnings("ignore", message=".*use of fork.. may lead to deadlocks", category=DeprecationWarning)


def in_parallel(function: Callable[[Item], Result], items: Sequence[Item], title: str) -> Iterator[Result]:
    """Results of a function for each item, in their order, with a progress bar on a terminal.

    Args:
        function: gives a small result that can be pickled; it uses no torch.
        items: what it is called with.
        title: of the progress bar.

    Raises:
        DataError: there is too little memory, or a process was killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = max(1, min(CHUNK, len(items) // (IN_FLIGHT * cores)))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    off = not sys.stderr.isatty()
    with tqdm(total=len(items), desc=title, disable=off, leave=False, dynamic_ncols=True) as bar:
        try:
            for results in _mapped(partial(_each, function), chunks, cores, len(items) >= WORTH_PROCESSES):
                yield from results
                bar.update(len(results))
        except BrokenExecutor as error:
            raise DataError(f"{title}: a process that read images was killed, probably for lack of memory") from error
        except MemoryError as error:
            raise DataError(f"{title}: there is too little memory") from error


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _mapped(function: Callable, chunks: Sequence, cores: int, many: bool) -> Iterable:
    if cores == 1 or len(chunks) == 1:
        yield from map(function, chunks)
        return
    with _copies(cores) if many and sys.platform == "linux" else ThreadPoolExecutor(cores) as executor:
        try:
            waiting: deque[Future] = deque()
            for chunk in chunks:
                waiting.append(executor.submit(function, chunk))
                if len(waiting) >= IN_FLIGHT * cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)  # if the caller stops early


def _copies(cores: int) -> Executor:
    """Processes that begin as copies of this one, so that they have nothing to load."""
    forked = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(cores, forked, initializer=_follow_parent, initargs=(os.getpid(),))


def _follow_parent(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
