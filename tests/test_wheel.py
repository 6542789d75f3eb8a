"""The built wheel, in an empty environment outside the tree, trains, evaluates and predicts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPO, only_run, record_of
from PIL import Image

PARTS = ("capsnet", "configs", "hydra_plugins", "pyproject.toml", "setup.py", "README.md", "LICENSE")
SMALL = ("data.limit=400", "model=small_capsnet", "trainer=cpu", "figures=false")
FROM_PYTHON = """
import capsnet
from capsnet.lightning import CapsNetModule, KMNISTDataModule

print(capsnet.__file__)
assert capsnet.compose("model=efficient_capsnet").optimizer.lr == 0.016
CapsNetModule("model=small_capsnet", "routing.iters=3")
KMNISTDataModule("data=kmnist_7k").prepare_data()
"""


def run(*command: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_evaluates_predicts_and_serves_python_and_lightning(tmp_path):
    source, here = tmp_path / "source", tmp_path / "here"
    here.mkdir()
    source.mkdir()
    for part in PARTS:
        own = REPO / part
        shutil.copytree(own, source / part) if own.is_dir() else shutil.copy(own, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path, source, cwd=here)
    shutil.rmtree(source)
    (wheel,) = tmp_path.glob("capsnet-*.whl")
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=here)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    # What the wheel needs is taken from this environment, but not what is installed there in editable form.
    (packages / "others.pth").write_text(str(Path(torch.__file__).parents[1]), encoding="utf-8")
    python, capsnet = environment / "bin" / "python", environment / "bin" / "capsnet"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=here)
    assert str(packages) in run(python, "-c", FROM_PYTHON, cwd=here)

    run(capsnet, "train", "data=kmnist_7k", "trainer.max_epochs=1", *SMALL, "name=first", cwd=here)
    folder = only_run(here)
    assert (record_of(folder)["status"], folder.name.endswith("_first")) == ("completed", True)
    assert "accuracy" in run(capsnet, "evaluate", f"run={folder}", "figures=false", cwd=here)
    Image.new("L", (28, 28)).save(here / "picture.png")
    assert "1 picture classified" in run(capsnet, "predict", folder, "picture.png", cwd=here)
    assert "first" in run(capsnet, "runs", cwd=here)
