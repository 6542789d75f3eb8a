"""Memory that is kept between steps."""

import resource
import sys

import pytest
import torch

from capsnet.training.allocation import freed_memory_kept

ELEMENTS = 16 << 20  # 64 MiB of float32: glibc never keeps an array of this size by itself


def pages_emptied_for_one_more_array() -> int:
    """Page faults in which the system hands out memory, for an array like some that were just freed."""
    for _ in range(12):  # small objects come to lie between the first ones
        torch.zeros(ELEMENTS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(ELEMENTS).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps memory")
def test_an_array_takes_the_memory_of_one_that_was_freed_and_afterwards_the_system_has_it_back():
    # The system hands out pages of 4 KiB, or of 2 MiB: 16,384 or 32 of them.
    assert pages_emptied_for_one_more_array() >= 32
    with freed_memory_kept():
        assert pages_emptied_for_one_more_array() < 16
    assert pages_emptied_for_one_more_array() >= 32
