"""Threads that wait for others leave the processor to other programs."""

import os

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
"""Variables by which you say how OpenMP's threads wait."""
SPIN_COUNT = "1000"
"""Of short pauses. With more, trainings at the same time disturb each other; with fewer, one alone is slower."""


def wait_without_spinning() -> None:
    """Let OpenMP's threads, and those of processes started from here, sleep soon after they have nothing to do.

    By default, a thread that waits keeps its core busy for milliseconds. A step of PyTorch has many short parallel
    regions, so two trainings on two cores may each take ten times as long, see docs/performance.md. It has no effect
    once torch is loaded, and none if the environment has a variable of `WAITING`.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
