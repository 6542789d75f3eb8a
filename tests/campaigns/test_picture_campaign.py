"""The campaign of damaged pictures that is behind the documents' count, in part."""

import subprocess
import sys

import pytest
from conftest import REPO

pytestmark = pytest.mark.slow


def test_damaged_pictures_are_refused_by_name_or_read_and_nothing_else_is_printed():
    command = [sys.executable, str(REPO / "tests/campaigns/pictures.py"), "--count=210", "--seed=7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "210  damaged pictures, each refused by name or read" in done.stdout.splitlines()[-1]
    assert "Decod" not in done.stderr
