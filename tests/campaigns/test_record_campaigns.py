"""The campaigns of changed records and crowded folders that are behind the documents' counts, in part."""

import subprocess
import sys

import pytest
from conftest import REPO

pytestmark = pytest.mark.slow


def run_campaign(name: str, *arguments: str) -> list[str]:
    """Run a campaign as a script, whose process has loaded everything once and no more; gives the lines it printed."""
    command = [sys.executable, str(REPO / f"tests/campaigns/{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout.splitlines()


def test_changed_records_are_refused_or_warned_of_or_make_no_difference():
    assert "40  changed records, 0 of them against the rules" in run_campaign("records", "--count=40", "--seed=7")[-1]


def test_nothing_of_somebody_elses_is_changed_in_crowded_folders():
    assert "6  crowded folders; nothing of theirs was changed" in run_campaign("places", "--count=6", "--seed=7")[-1]
