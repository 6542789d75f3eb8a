"""Wall time of work on a device."""

import time
from collections.abc import Callable

import torch


def wait_for(device: str) -> None:
    """Wait until a GPU has finished its work. On the "cpu" there is nothing to wait for."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(step: Callable[[], None], device: str, repeats: int = 1) -> float:
    """Wall time of a step, averaged over the repeats. The device's work counts."""
    wait_for(device)
    began = time.perf_counter()
    for _ in range(repeats):
        step()
    wait_for(device)
    return (time.perf_counter() - began) / repeats
