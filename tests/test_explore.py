"""Claims about `python -m capsnet.explore`: what it prints, and how it ends."""

import importlib.util
import re
import shutil
import signal
import socket
import urllib.request

import pytest
from conftest import run_in_process, start_command

from capsnet.explorer.samples import open_exhibit

EXPLORE = "capsnet.explore"


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_answers_there_and_ends_quietly(finished_run, tmp_path, ending):
    process = start_command(EXPLORE, str(finished_run), "--port", "0", "--no-browser", cwd=tmp_path)
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines[0].startswith("capsnet on digits: ")
    address = re.search(r"http://127\.0\.0\.1:\d+", lines[1])[0]
    with urllib.request.urlopen(address) as reply:
        assert b"Capsule explorer" in reply.read()
    process.send_signal(ending)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed.strip(), errors) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_one_line(finished_run, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_in_process(EXPLORE, str(finished_run), "--port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"Error: --port {port}: Address already in use; choose another, or 0 for any that is free\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing: there is no such run or checkpoint"),
        (["."], "best.ckpt: there is no such checkpoint"),
        ([".", "--port", "x"], "x: must be a number from 0 to 65535"),
        ([".", "--port", "65536"], "65536: must be a number from 0 to 65535"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments, message, tmp_path):
    done = run_in_process(EXPLORE, *arguments, *() if "--port" in arguments else ("--port", "0"), cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_without_its_packages_it_says_what_to_install(finished_run, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "uvicorn" else found(name, *more)
    )
    done = run_in_process(EXPLORE, str(finished_run), cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'capsnet[explore]'" in done.stderr


def test_help_says_what_it_does(tmp_path):
    done = run_in_process(EXPLORE, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("Explore a trained network in the browser")


def test_a_run_without_its_images_is_explored_without_them(kmnist_root, tmp_path):
    small = ("model=small_cnn", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=50", "figures=false")
    run = tmp_path / "run"
    done = run_in_process("train.py", f"data.root={kmnist_root}", *small, f"hydra.run.dir={run}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    moved = tmp_path / "moved"
    shutil.move(kmnist_root, moved)
    exhibit = open_exhibit(run)  # and nothing is downloaded
    assert exhibit.test_images is None
    assert "no files in" in exhibit.why_none
    assert exhibit.class_characters[0] == "お"
    assert len(open_exhibit(run, root=str(moved)).test_images.labels) == 50
