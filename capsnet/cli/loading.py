"""Imported before everything else: Ctrl-C while modules are still being loaded ends the program without a traceback."""

import os
import signal

INTERRUPTED = 130


def exit_at_once(*_: object) -> None:
    os._exit(INTERRUPTED)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, exit_at_once)
