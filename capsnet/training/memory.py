"""Memory that a training needs: estimated before it begins, and one line if there is too little."""

import contextlib
import gc
import math
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import TooLittleMemoryError
from ..runs.checkpoints import build_network
from ..settings.config import Config

COPIES = 4  # of each weight: itself, its gradient, and the two means of Adam
SHARES = 2  # of what the backward pass is given: itself, and its gradient
LIBRARIES = 0.9e9  # bytes of a process with torch and Lightning loaded, on the CPU
TOO_LITTLE = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
REMEDY = "set data.batch_size or data.image_size lower, model.decoder=convolutional, or a smaller model"


class Need(NamedTuple):
    """Bytes that a training needs, about."""

    weights: int
    """And their gradients and means."""
    batch: int
    """What the backward pass of a batch is given."""
    images: int
    """All images that are held."""

    @property
    def total(self) -> float:
        return self.weights + self.batch + self.images


def refuse_too_large(
    config: Config, single_shape: tuple[int, int, int], num_classes: int, available: float | None
) -> None:
    """Raise TooLittleMemoryError if the weights of a network alone would not fit. Nothing is allocated for that."""
    try:
        with torch.device("meta"):
            network = build_network(config, single_shape, num_classes)
    except Exception:  # it is built again, where what is wrong is said; and some cannot be built without memory
        return
    needed = COPIES * _bytes_of(network)
    if available is not None and needed > available:
        raise TooLittleMemoryError(
            f"the weights of this network, their gradients and means need {in_gigabytes(needed)} of memory, but"
            f" {in_gigabytes(available)} are free: {REMEDY}"
        )


def memory_need(network: nn.Module, image_shape: tuple[int, int, int], batch_size: int, images: int) -> Need:
    """What the training of a network needs, found by showing it one image: what the backward pass will be given.

    An upper bound for matrix capsules: votes of one image are kept, and are counted as if those of all images were.

    Args:
        network: of any kind; it stays as it is.
        image_shape: (channels, height, width).
        batch_size: images in a step.
        images: in all splits.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in network.state_dict().values()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in weights:
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    was_training = network.training
    network.eval()
    saved_tensors = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    # A network that fails here fails again in training, where it is recorded.
    with torch.enable_grad(), saved_tensors, contextlib.suppress(Exception):
        output = network(torch.zeros(1, *image_shape))  # its graph holds on to them, so no place is used twice
        del output
    network.train(was_training)
    return Need(COPIES * _bytes_of(network), SHARES * batch_size * sum(kept.values()), images * math.prod(image_shape))


def _bytes_of(network: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())


def available_memory(on_cpu: bool) -> float | None:
    """Bytes that are free on the GPU, or on this machine and in this process's control group; None if not known."""
    if not on_cpu:
        return float(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None
    found = [_free_of_machine(), _free_of_group()]
    known = [free for free in found if free is not None]
    return min(known) if known else None


def _free_of_machine() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        names = getattr(os, "sysconf_names", {})
        known = {"SC_AVPHYS_PAGES", "SC_PAGE_SIZE"} <= set(names)
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) if known else None


def _free_of_group() -> float | None:
    """Of a container, or of a job of a cluster (control groups, version 2)."""
    try:
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        return None if limit == "max" else float(limit) - float(used)
    except (OSError, ValueError):
        return None


def memory_line(need: Need, available: float | None, on_cpu: bool) -> str:
    """What the terminal says before a training."""
    total = need.total + (LIBRARIES if on_cpu else 0)
    if available is None:
        return f"about {in_gigabytes(total)}"
    short = "" if total < available else f"; that may be too little: {REMEDY}"
    return f"about {in_gigabytes(total)}, {in_gigabytes(available)} are free{short}"


def in_gigabytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


@contextlib.contextmanager
def memory_errors_in_one_line() -> Iterator[None]:
    """Turns what torch and Python say when memory runs out into TooLittleMemoryError, and gives the memory back."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError) and not any(said in str(error).lower() for said in TOO_LITTLE):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold tensors
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise TooLittleMemoryError(f"there is too little memory for this training: {REMEDY}") from None
