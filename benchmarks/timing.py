"""Wall time of work on a device."""

import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch
from tqdm import tqdm

Name = TypeVar("Name", bound=Hashable)


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


def times_in_turns(steps: Mapping[Name, Callable[[], None]], rounds: int, device: str) -> dict[Name, list[float]]:
    """Wall times of several steps, which take turns in random order, so that a disturbance hits them all alike."""
    times: dict[Name, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        seconds(step, device, 2)
    for _ in tqdm(range(rounds), leave=False, disable=None):
        for name in random.sample(list(steps), len(steps)):
            times[name].append(seconds(steps[name], device))
    return times


def median_ratio(times: Mapping[Name, list[float]], name: Name, baseline: Name) -> float:
    """Median over the rounds of a step's time, divided by the baseline's in the same round."""
    return statistics.median(own / other for own, other in zip(times[name], times[baseline], strict=True))
