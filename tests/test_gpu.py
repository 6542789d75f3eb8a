"""What needs a GPU, a test for each check of benchmarks/gpu.py; and that program itself, on the CPU."""

import json
import sys

import pytest
import torch
from conftest import REPO, run_command

sys.path.append(str(REPO / "benchmarks"))
import gpu


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", gpu.checks())
def test_on_a_gpu(name, tmp_path):
    try:
        gpu.checks()[name]("cuda", tmp_path)
    except gpu.SkippedError as reason:
        pytest.skip(str(reason))


@pytest.mark.slow
def test_the_program_for_gpus_does_on_the_cpu_what_there_is_time_for(tmp_path):
    arguments = ("--device=cpu", "--quick", f"--out={tmp_path}", "--seconds=15")
    done = run_command("benchmarks/gpu.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert {part["outcome"].partition(":")[0] for part in written["parts"]} <= {"passed", "skipped", "left out"}
    assert written["parts"][0]["outcome"] == "passed"
    assert all(row["images_per_second"] > 0 for row in written["rows"])
