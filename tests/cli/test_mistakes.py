"""A mistake ends in one line that names it, with exit code 2, no traceback and no folder."""

import subprocess
import sys

import pytest
from conftest import DIGITS, REPO, run_command, run_in_process

import capsnet.settings.composing


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line that a program ended with, after nothing else was printed."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("routing.iter=3", "routing.iter=3: no such key; did you mean routing.iters?"),
        ("routing.iters=0", "routing.iters=0: must be at least 1"),
        ("routing.iters=many", "routing.iters=many: "),
        ("data=imagenet", "data=imagenet: no such option; choose cifar10, "),
        ("model=resnet", "model=resnet: no such option; did you mean model=resnet18?"),
        ("experiment=none_such", "experiment=none_such: no such option; choose best, best_2017, best_full, "),
        ("optimizer.lr=.nan", "optimizer.lr=.nan: "),
        ("nonsense", "nonsense"),
        ("hydra.run.dir=/x(1)", "hydra.run.dir=/x(1)"),
        ("trainer.devices=many", "trainer.devices=many: must be a number of devices"),
        ("trainer.limit_test_batches=2", "does nothing here, since the test always scores every image"),
        ("trainer.logger=false", "does nothing here, since logger=NAME chooses them"),
        ("lr=0.01", "lr=0.01: no such key; use optimizer.lr=0.01"),
        ("data.num_workers=4", "no worker processes; leave it out"),
        ("ckpt_path=last.ckpt", "resume=RUN_DIR continues a run, init=RUN_DIR begins with its weights"),
        ("callbacks=early_stopping", "early_stopping.patience=N stops early"),
        ("--epochs", "--epochs: settings are given as KEY=VALUE, without dashes; use trainer.max_epochs=VALUE"),
        ("+experiment=best", "leave out the +: experiment=best"),
        ("data=kmnist_7k/", "did you mean data=kmnist_7k?"),
        ("--config-path=.", "--config-dir=DIR adds a folder with YAML files"),
        ("--config-name=none_such", "--config-name=none_such: there is no such file"),
        ("logger=null", "logger=null: write logger=none"),
        ("data=.", "for pictures in a folder, data=folder data.root=."),
        ("tags=baseline", "tags=baseline: must be a list: tags=[baseline]"),
        ("seed=range(3)", "seed=range(3): several values are a sweep: add -m"),
        ("model.dropout=0.2,0.5", "several values are a sweep: add -m"),
        ("routing.iters=1..3", "'routing.iters=range(1,4)', with -m"),
        ("resume", "settings are given as KEY=VALUE"),
        ("resume=run/checkpoints/last.ckpt", "give the run's folder: resume=run"),
        ("hydra.job.chdir=true", "leave it out"),
        ("freeze=true", "freeze=true: keeps weights as they are, so it needs init="),
        ("name=a/b", "name=a/b: must be letters, digits"),
        ("~seed", "~seed: a setting cannot be removed; leave it out to get its default"),
    ],
)
def test_in_a_setting(tmp_path, argument, named):
    assert named in error_line(run_in_process("train.py", argument, cwd=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_setting_of_another_option_says_where_it_belongs(tmp_path):
    done = run_in_process("train.py", "routing=uniform", "routing.iters=3", cwd=tmp_path)
    assert "routing.iters=3: belongs to routing=dynamic, inverted, em or vb, which is not chosen" in error_line(done)


def test_a_launcher_that_is_not_installed_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(capsnet.settings.composing.LAUNCHER_PACKAGES, "none_such", "hydra-none-such-launcher")
    done = run_in_process("train.py", "-m", "hydra/launcher=none_such", "seed=1", cwd=tmp_path)
    assert "hydra/launcher: needs another package: pip install hydra-none-such-launcher" in error_line(done)


def test_is_found_before_torch_is_loaded(tmp_path):
    loads_torch = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules))\n"
        f"sys.argv = ['train.py', 'routing.iters=0']\nrunpy.run_path({str(REPO / 'train.py')!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", loads_torch]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr


def test_full_error_shows_the_traceback(tmp_path):
    done = run_command("train.py", "routing.iters=0", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert "Traceback" in done.stderr
    assert done.returncode != 0


def test_missing_data_says_what_to_do(tmp_path):
    line = error_line(run_in_process("train.py", "data.download=false", cwd=tmp_path))
    assert "data=kmnist_7k and data=digits need no download" in line
    assert not list(tmp_path.iterdir())


def test_stays_on_one_line_whatever_it_quotes(tmp_path):
    done = run_in_process("train.py", "data.root='a\nb\033[2J'", "data.download=false", cwd=tmp_path)
    assert "\033" not in error_line(done)


def test_in_a_run_leaves_a_folder_that_was_there_before(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    error_line(run_in_process("train.py", "data.download=false", "hydra.run.dir=mine", cwd=tmp_path))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_second_run_in_the_same_folder_is_refused(finished_run, tmp_path):
    before = (finished_run / "metrics.csv").read_bytes()
    line = error_line(run_in_process("train.py", *DIGITS, f"hydra.run.dir='{finished_run}'", cwd=tmp_path))
    assert "already has a run; choose another folder" in line
    assert (finished_run / "metrics.csv").read_bytes() == before


def test_a_sweeps_folder_without_jobs_is_refused(tmp_path):
    line = error_line(run_in_process("capsnet.sweeps", str(tmp_path), cwd=tmp_path))
    assert "has no jobs of a sweep" in line
