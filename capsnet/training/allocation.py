"""Memory that a training step frees stays with the process, for the next step."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}
"""What glibc's thresholds rise to by themselves, in a process that frees large arrays."""


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Let large arrays reuse memory that was freed, rather than return it to the system and get it back empty.

    The system empties every page that it hands out. For CapsNet's step on a CPU, this costs about as much as routing,
    see benchmarks/RESULTS.md. Without glibc, nothing changes.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    try:
        for parameter, value in _KEEP.items():
            libc.mallopt(parameter, value)
        yield
    finally:
        for parameter, value in _USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
