"""Memory that is kept between steps."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource

import torch

from capsnet.training.allocation import freed_memory_kept

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20

def with_and_after_an_array():
    array = torch.zeros(16 << 20)  # 64 MiB: glibc never keeps an array of this size by itself
    resident = resident_mib()
    del array
    return resident, resident_mib()

print(*with_and_after_an_array())
with freed_memory_kept():
    print(*with_and_after_an_array())
print(resident_mib())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps memory")
def test_a_freed_array_stays_with_the_process_and_afterwards_the_system_has_it_back():
    # In a process of its own, since free memory that earlier tests left in the heap would be used first.
    script = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert script.returncode == 0, script.stderr
    usual, usual_freed, kept, kept_freed, afterwards = map(int, script.stdout.split())
    assert usual - usual_freed > 60
    assert kept - kept_freed < 4
    assert kept - afterwards > 60
