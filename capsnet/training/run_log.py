"""A run's train.log: what is logged while it is prepared is kept, and written once the run starts."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from logging.handlers import MemoryHandler
from pathlib import Path

from ..errors import CapsNetError

FORMAT = "%(asctime)s %(levelname)s %(message)s"


@contextlib.contextmanager
def run_log(path: Path) -> Iterator[Callable[[], None]]:
    """Log to a file as well, from the moment that the function it gives is called.

    Messages from before are then written, too. If it is never called, the file stays as it was. An error ends the file:
    its line, or the traceback if it is a bug of the program.

    Args:
        path: of train.log.
    """
    file = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)
    file.setFormatter(logging.Formatter(FORMAT))
    memory = MemoryHandler(capacity=1_000_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    root = logging.getLogger()
    root.addHandler(memory)

    def start() -> None:
        memory.setTarget(file)
        memory.flush()
        root.removeHandler(memory)
        root.addHandler(file)

    try:
        yield start
    except Exception as error:
        if file in root.handlers:
            expected = isinstance(error, CapsNetError)
            message, trace = (str(error), None) if expected else ("failed", (type(error), error, error.__traceback__))
            file.handle(root.makeRecord(root.name, logging.ERROR, __file__, 0, message, (), trace))
        raise
    finally:
        root.removeHandler(memory)
        root.removeHandler(file)
        memory.close()
        file.close()
