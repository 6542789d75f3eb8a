"""A sweep's table and picture, from folders of jobs made here."""

from pathlib import Path

import pytest
from conftest import make_job, run_in_process, table

from capsnet.errors import CheckpointError
from capsnet.sweeps.jobs import Job, read_jobs
from capsnet.sweeps.plan import Plan
from capsnet.sweeps.summary import accuracies_by_value, summarize


@pytest.fixture
def sweep(tmp_path):
    """The folder of a sweep of four jobs, the last of which failed."""
    folder = tmp_path / "sweep"
    overrides = [
        ["data=digits", f"routing.iters={iters}", f"model.dropout={dropout}"]
        for iters in (1, 3)
        for dropout in (0, 0.5)
    ]
    for number, accuracy in enumerate((0.91, 0.93, 0.97)):
        make_job(folder, number, overrides[number], val_accuracy=accuracy, test_accuracy=accuracy - 0.02)
    make_job(folder, 3, overrides[3], "failed", reason='OutOfMemoryError: it, was = "large"\nsecond line')
    Plan(4, ["routing.iters", "model.dropout"], started=0.0).write(folder)
    return folder


def test_table_is_sorted_by_validation_accuracy_and_has_a_row_per_job(sweep):
    summarize(sweep)
    rows = table(sweep / "sweep.csv")
    assert [row["job"] for row in rows] == ["2", "1", "0", "3"]
    assert rows[0] == {
        "job": "2",
        "routing.iters": "3",
        "model.dropout": "0",
        "status": "completed",
        "val_accuracy": "0.97",
        "test_accuracy": "0.95",
        "test_balanced_accuracy": "",
        "seconds": "60.0",
        "best_epoch": "2",
        "reason": "",
    }
    assert rows[3]["status"] == "failed"
    assert rows[3]["reason"] == 'OutOfMemoryError: it, was = "large"\nsecond line'


def test_summary_shows_the_best_run_and_how_to_evaluate_it(sweep):
    text = summarize(sweep)
    assert f"best       {sweep}/2  (routing.iters=3 model.dropout=0)" in text
    assert f"evaluate.py run={sweep}/2" in text
    assert "data=digits" not in text  # the same for all
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_jobs_that_have_not_begun_are_counted_as_missing(sweep):
    for file in (sweep / "3").iterdir():
        file.unlink()
    assert "1 of 4 jobs are not finished" in summarize(sweep)


def test_a_record_that_is_not_json_is_a_row(sweep):
    (sweep / "1" / "results.json").write_text("{")
    assert [job.status for job in read_jobs(sweep)] == ["completed", "unreadable", "completed", "failed"]
    assert "unreadable" in summarize(sweep)
    assert len(table(sweep / "summary.csv")) == 3  # nothing says which setting it had


def test_without_a_plan_the_swept_keys_are_those_that_differ(sweep):
    (sweep / "sweep.json").unlink()
    header = summarize(sweep).splitlines()[0].split()
    assert header[:5] == ["job", "routing.iters", "model.dropout", "validation", "test"]


class TestSeeds:
    """A sweep over settings and seeds is summed up by setting."""

    @pytest.fixture
    def repeated(self, tmp_path):
        accuracies = {"1": (0.90, 0.92, 0.97), "3": (0.93, 0.94, 0.95)}  # the best seed is not in the best setting
        for number, (iters, seed) in enumerate((iters, seed) for iters in accuracies for seed in range(3)):
            accuracy = accuracies[iters][seed]
            make_job(
                *(tmp_path, number, [f"routing.iters={iters}", f"seed={seed}"]),
                val_accuracy=accuracy,
                test_accuracy=accuracy - 0.1,
                parameters=1000 * int(iters),
                train_images_per_second=100.0 + seed,
                inference_images_per_second=300.0 + seed,
            )
        Plan(6, ["routing.iters", "seed"], started=0.0).write(tmp_path)
        return tmp_path

    def test_a_row_per_setting_has_mean_and_standard_deviation_best_mean_first(self, repeated):
        summarize(repeated)
        first, second = table(repeated / "summary.csv")
        assert [first["routing.iters"], second["routing.iters"]] == ["3", "1"]
        assert first["seeds"] == "3"
        assert float(first["val_accuracy_mean"]) == pytest.approx(0.94)
        assert float(first["val_accuracy_std"]) == pytest.approx(0.01)
        assert float(first["test_accuracy_mean"]) == pytest.approx(0.84)
        assert first["parameters"] == "3000"
        assert float(first["train_images_per_second"]) == 101
        assert float(first["inference_images_per_second"]) == 301

    def test_the_table_in_the_terminal_has_the_same_rows(self, repeated):
        head, first, second, *_ = summarize(repeated).splitlines()
        assert head.split() == ["routing.iters", "seeds", "validation", "test", "parameters", "train/s", "infer/s"]
        assert first.split() == ["3", "3", *["94.00%", "±", "1.00%", "84.00%", "±", "1.00%", "3,000", "101", "301"]]
        assert second.split()[:2] == ["1", "3"]

    def test_best_is_the_setting_with_the_best_mean_and_not_the_luckiest_seed(self, repeated):
        text = summarize(repeated)
        assert "best       routing.iters=3, validation accuracy 94.00% ± 1.00%" in text
        assert f"evaluate.py run={repeated}/3" in text  # its first seed

    def test_the_balanced_accuracy_is_a_column_where_classes_are_unbalanced(self, repeated):
        assert "balanced" not in summarize(repeated).splitlines()[0]
        for number, seed in enumerate((3, 4), 6):
            make_job(
                *(repeated, number, ["routing.iters=3", f"seed={seed}"]),
                val_accuracy=0.94,
                test_accuracy=0.9,
                test_balanced_accuracy=0.6 + number / 100,
            )
        assert "66.50% ± 0.71%" in summarize(repeated)
        assert float(table(repeated / "summary.csv")[0]["test_balanced_accuracy_mean"]) == pytest.approx(0.665)

    def test_a_failed_job_is_not_counted_but_named(self, repeated):
        make_job(repeated, 6, ["routing.iters=3", "seed=3"], "failed", val_accuracy=0.1)
        assert "failed     jobs 6, see sweep.csv" in summarize(repeated)
        assert table(repeated / "summary.csv")[0]["seeds"] == "3"

    def test_without_another_key_there_is_one_row(self, tmp_path):
        for seed, accuracy in enumerate((0.90, 0.92, 0.94)):
            make_job(tmp_path, seed, [f"seed={seed}"], val_accuracy=accuracy)
        Plan(3, ["seed"], started=0.0).write(tmp_path)
        text = summarize(tmp_path)
        assert text.splitlines()[1].split() == ["3", *["92.00%", "±", "2.00%", "-", "-", "-", "-"]]
        assert "best       validation accuracy 92.00% ± 2.00%" in text

    def test_without_validation_images_the_picture_shows_the_test_and_nothing_is_the_best(self, tmp_path):
        for number, iters in enumerate("1133"):
            make_job(tmp_path, number, [f"routing.iters={iters}", f"seed={number % 2}"], test_accuracy=0.9)
        Plan(4, ["routing.iters", "seed"], started=0.0).write(tmp_path)
        text = summarize(tmp_path)
        assert (tmp_path / "sweep.png").is_file()
        assert "90.00% ± 0.00%" in text
        assert "best" not in text

    def test_with_validation_images_in_some_jobs_only_nothing_is_the_best(self, repeated):
        make_job(repeated, 6, ["routing.iters=5", "seed=0"], test_accuracy=0.99)
        assert "best" not in summarize(repeated)
        assert len(table(repeated / "summary.csv")) == 3

    def test_a_single_seed_has_no_deviation(self, sweep):
        summarize(sweep)
        row = table(sweep / "summary.csv")[0]
        assert (row["seeds"], row["val_accuracy_mean"], row["val_accuracy_std"]) == ("1", "0.97", "")


def test_accuracies_are_grouped_by_value_in_numerical_order():
    def job(iters):
        return Job(Path("0"), "completed", [f"routing.iters={iters}"])

    jobs = [(job("10"), 0.5), (job("2"), 0.6), (job("2"), 0.8), (job("two"), 0.1), (job("3"), None)]
    found = accuracies_by_value(jobs, ["routing.iters"])["routing.iters"]
    assert list(found.items()) == [("2", [0.6, 0.8]), ("10", [0.5]), ("two", [0.1])]


class TestFolders:
    def test_one_that_does_not_exist_is_refused(self, tmp_path):
        with pytest.raises(CheckpointError, match="nowhere: there is no such folder"):
            summarize(tmp_path / "nowhere")

    def test_one_without_jobs_is_refused(self, tmp_path):
        with pytest.raises(CheckpointError, match="has no jobs of a sweep"):
            summarize(tmp_path)


class TestCommand:
    def test_writes_the_table_again_and_prints_it(self, sweep, monkeypatch):
        done = run_in_process("capsnet.sweeps", str(sweep), cwd=sweep.parent)
        assert done.returncode == 0, done.stderr
        assert (sweep / "sweep.csv").is_file()
        monkeypatch.chdir(sweep.parent)
        assert done.stdout == summarize(sweep) + "\n"

    def test_explains_itself(self, tmp_path):
        for arguments, code in (([], 2), (["--help"], 0)):
            done = run_in_process("capsnet.sweeps", *arguments, cwd=tmp_path)
            assert done.returncode == code
            assert "python -m capsnet.sweeps DIR" in done.stdout
