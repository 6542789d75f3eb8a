"""What every program does: catch signals, log, and end with one line and exit code 2 if something is wrong."""

import contextlib
import io
import logging
import logging.config
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import CapsNetError
from ..settings import CONFIGS
from ..settings.parse import explain
from ..text import on_one_line, printable

USAGE_ERROR, INTERRUPTED = 2, 130

_FULL_ERROR = "HYDRA_FULL_ERROR"
_was_interrupted = False
_wants_traceback = os.environ.get(_FULL_ERROR, "0") not in ("", "0")


def run_program(main: Callable[[], Any]) -> None:
    """Run a program's main function, which may be Hydra's, as it is run from a terminal."""
    global _was_interrupted
    _was_interrupted = False
    _handle_signals(_interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # arguments and names may have bytes that are not UTF-8
    os.environ[_FULL_ERROR] = "1"  # otherwise Hydra prints errors itself, in several lines, and exits with 1
    try:
        with one_line_errors():
            main()
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _discard_output()
    finally:
        # What the libraries do last would print an exception and go on.
        _handle_signals(lambda *_: os._exit(INTERRUPTED))


def _handle_signals(handler: Callable[..., Any]) -> None:
    """Call the handler for each signal that asks a program to end, unless it is ignored, as nohup sets it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM, or a terminal that closes, as Ctrl-C, once."""
    global _was_interrupted
    _was_interrupted = True
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _discard_output() -> None:
    """Send further output nowhere: whoever was reading it, such as `head`, has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Exit with one line for errors meant for the person; with HYDRA_FULL_ERROR=1, show the traceback."""
    try:
        yield
    except Exception as error:
        message = None if isinstance(error, BrokenPipeError) else _message(error)
        if message is None or _wants_traceback:
            raise
        print(f"Error: {printable(message)}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, CapsNetError) else USAGE_ERROR)


def _message(error: Exception) -> str | None:
    """The message for the person at the terminal; None for a bug in the program, which needs its traceback."""
    if isinstance(error, CapsNetError):
        return str(error)
    if type(error).__module__.startswith("hydra."):
        from ..settings.composing import explain_hydra  # loads Hydra, which is already there

        return explain_hydra(error, sys.argv[1:])
    if isinstance(error, OmegaConfBaseException):
        return explain(error)
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename or 'a file cannot be read or written'}: {error.strerror}"
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    if innermost.f_globals["__name__"].startswith(("hydra.", "omegaconf.", "antlr4.", "yaml.")):  # by odd arguments
        if _was_interrupted:
            raise KeyboardInterrupt from error  # OmegaConf has made another error of it
        return f"{' '.join(sys.argv[1:])[:200]}: not understood ({on_one_line(error)[:200]})"
    return None


class ConsoleHandler(logging.StreamHandler):
    """Logs to standard output. If the reader has gone, as in `| head`, the program continues without it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _discard_output()
        else:
            super().handleError(record)


def start_logging() -> None:
    """Log to the terminal, just as Hydra does for a new run."""
    logging.config.dictConfig(OmegaConf.to_container(OmegaConf.load(CONFIGS / "hydra" / "job_logging" / "lines.yaml")))
