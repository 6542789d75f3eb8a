"""The campaigns of faults that are behind the README's counts, in part."""

import random
import subprocess
import sys

import pytest
from campaigns import endurance, files
from conftest import REPO

pytestmark = pytest.mark.slow


def test_broken_overrides_end_in_one_line_before_any_training():
    command = [sys.executable, str(REPO / "tests/campaigns/overrides.py"), "--count=5"]
    halves = [subprocess.Popen([*command, f"--seed={seed}"], stdout=-1, stderr=-2, text=True) for seed in (1, 2)]
    for process in halves:
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed[-3000:]
        assert int(printed.split("\n")[-2].split()[0]) >= 5


def test_nothing_of_somebody_elses_is_changed_in_crowded_folders():
    command = [sys.executable, str(REPO / "tests/campaigns/places.py"), "--count=2", "--seed=7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "2  crowded folders; nothing of theirs was changed" in done.stdout.splitlines()[-1]


def test_damaged_files_are_refused_or_read_with_a_warning(tmp_path):
    chance = random.Random(0)
    assert sum(files.damage_data(tmp_path, 10, chance).values()) == 10 * 4 * 3
    assert sum(files.damage_checkpoint(tmp_path, 10, chance).values()) == 10 * 3


def test_memory_and_open_files_do_not_grow(tmp_path):
    gauge = endurance.campaign(20, tmp_path)
    assert min(gauge.files[10:]) <= max(gauge.files[:10])  # one may be open in passing; those of a leak stay
    assert max(gauge.mebibytes[10:]) < max(gauge.mebibytes[:10]) + 40  # an epoch's tensors come to some 20
