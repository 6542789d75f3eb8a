"""Claims about a run's folder: it is new, it is one process's, and an unused one goes."""

import subprocess
import sys
import threading

import pytest

from capsnet.errors import ConfigError, FolderInUseError
from capsnet.runs.folder import (
    MAX_NAME_BYTES,
    curves_folder,
    locked,
    new_folder,
    refuse_foreign_files,
    remove_drafts,
    removed_unless_started,
)


def test_a_new_folder_has_the_wanted_name_or_the_next_number(tmp_path):
    wanted = tmp_path / "outputs/date/12-00-00"
    assert [new_folder(wanted).name for _ in range(3)] == ["12-00-00", "12-00-00_2", "12-00-00_3"]


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path):
    made = []
    threads = [threading.Thread(target=lambda: made.append(new_folder(tmp_path / "run"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8


def test_only_one_process_works_in_a_folder(tmp_path):
    code = (
        "import sys; from pathlib import Path; from capsnet.runs.folder import locked\n"
        "with locked(Path(sys.argv[1])): pass"
    )

    def other_process():
        return subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)

    with locked(tmp_path), locked(tmp_path):  # this process may ask twice
        refused = other_process()
        assert refused.returncode != 0
        assert f"FolderInUseError: {tmp_path}: in use by another process" in refused.stderr
    assert other_process().returncode == 0


class TestForeignFiles:
    """A folder with files that a run or sweep would overwrite."""

    def test_what_a_run_or_a_sweep_would_overwrite_is_refused_by_name_and_the_rest_is_fine(self, tmp_path):
        of_runs = ("checkpoints", "figures", "metrics.csv", "evaluation.json", "train.log", ".hydra")
        of_sweeps = ("0", "12", "sweep.csv", "summary.csv", "sweep.png", "study.db", "multirun.yaml")
        for sweep, refused, fine in (
            (False, (*of_runs, "events.out.tfevents.17"), (*of_sweeps, "notes.txt", "data", "results")),
            (True, of_sweeps, ("notes.txt", "data", "results", "metrics.csv")),
        ):
            for name in (*refused, *fine):
                folder = tmp_path / f"{sweep} {name}"
                folder.mkdir()
                (folder / name).write_text("mine")
                if name in fine:
                    refuse_foreign_files(folder, sweep)
                    continue
                with pytest.raises(ConfigError, match=f"^{folder}: already has {name}, which would be overwritten"):
                    refuse_foreign_files(folder, sweep)
            refuse_foreign_files(tmp_path / "new", sweep)

    def test_a_folder_that_has_a_run_and_a_file_in_its_place_are_refused(self, tmp_path):
        (tmp_path / "results.json").write_text("{}")
        with pytest.raises(ConfigError, match="already has a run; choose another folder"):
            refuse_foreign_files(tmp_path)
        with pytest.raises(ConfigError, match=r"results\.json: is not a folder"):
            refuse_foreign_files(tmp_path / "results.json")

    def test_a_run_that_was_killed_before_its_record_may_start_again(self, tmp_path):
        (tmp_path / ".hydra").mkdir()
        (tmp_path / ".lock").write_text("")
        refuse_foreign_files(tmp_path)
        (tmp_path / "metrics.csv").write_text("mine")
        with pytest.raises(ConfigError, match="already has"):
            refuse_foreign_files(tmp_path)

    def test_a_sweep_may_start_again_in_its_folder(self, tmp_path):
        for name in (".lock", "multirun.yaml", "0", "sweep.csv"):
            (tmp_path / name).write_text("")
        refuse_foreign_files(tmp_path, sweep=True)
        (tmp_path / "multirun.yaml").unlink()
        with pytest.raises(ConfigError, match="already has"):
            refuse_foreign_files(tmp_path, sweep=True)


def test_drafts_of_a_runs_own_files_are_removed_and_nothing_else(tmp_path):
    drafts = ["results.json.12.part", "checkpoints/last.ckpt.45.part", "figures/curves.png.6.part"]
    others = ["results.json", "notes.txt.12.part", "results.json.mine.part", "figures/mine.7.part"]
    for name in (*drafts, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    remove_drafts(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(others)


class TestUnused:
    """The folder of a run that ended before it had its record."""

    @pytest.fixture
    def run(self, tmp_path):
        run = new_folder(tmp_path / "outputs/date/time")
        (run / ".hydra").mkdir()
        for name in (".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml", ".lock"):
            (run / name).write_text("")
        return run

    @staticmethod
    def end(run, error):
        with removed_unless_started(run):
            raise error

    @pytest.mark.parametrize("error", [ConfigError("x"), KeyboardInterrupt()])
    def test_is_removed_with_the_empty_folders_that_were_made_for_it(self, run, tmp_path, error):
        with pytest.raises(type(error)):
            self.end(run, error)
        assert list(tmp_path.iterdir()) == []

    def test_stays_once_the_run_has_its_record(self, run):
        (run / "results.json").write_text("{}")
        with pytest.raises(ConfigError):
            self.end(run, ConfigError("x"))
        assert (run / ".hydra/config.yaml").exists()

    def test_stays_with_every_file_of_somebody_else_and_if_somebody_else_made_it(self, run, tmp_path):
        (run / "notes.txt").write_text("mine")
        (run / ".hydra/mine.yaml").write_text("mine")
        (tmp_path / "theirs/.hydra").mkdir(parents=True)
        for folder in (run, tmp_path / "theirs"):
            with pytest.raises(ConfigError):
                self.end(folder, ConfigError("x"))
        assert sorted(path.name for path in run.rglob("*")) == [".hydra", "mine.yaml", "notes.txt"]
        assert (tmp_path / "theirs").is_dir()

    @pytest.mark.parametrize("error", [FolderInUseError("x"), RuntimeError("a bug")])
    def test_stays_if_another_process_works_there_or_a_traceback_is_needed(self, run, error):
        with pytest.raises(type(error)):
            self.end(run, error)
        assert (run / ".hydra/config.yaml").exists()


def test_curves_are_named_by_what_a_job_varies_with_nothing_odd_in_the_name(tmp_path):
    assert curves_folder(tmp_path, "iters=3,lr=1e-3") == tmp_path / "iters=3,lr=1e-3"
    assert curves_folder(tmp_path, "path=/a b/$c") == tmp_path / "path=_a_b__c"
    assert curves_folder(tmp_path, "") == tmp_path
    long = curves_folder(tmp_path, "つ" * 300)
    assert len(long.name.encode()) <= MAX_NAME_BYTES
    assert set(long.name) == {"つ"}
    (tmp_path / "iters=3").mkdir()
    (tmp_path / "iters=3/events.out.tfevents.1").write_text("")
    assert curves_folder(tmp_path, "iters=5") == tmp_path / "iters=3"  # a resumed run keeps to it
