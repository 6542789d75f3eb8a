"""A sweep's table and picture, from folders of jobs made here."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import make_job, run_in_process, table

from capsnet.errors import CheckpointError
from capsnet.settings.config import COMBINABLE
from capsnet.sweeps.jobs import Job, read_jobs
from capsnet.sweeps.plan import Plan
from capsnet.sweeps.summary import metric_by_value, summarize


def accuracies(val, test):
    return {"val/accuracy": val, "test/accuracy": test}


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
        make_job(folder, number, overrides[number], metrics=accuracies(accuracy, accuracy - 0.02))
    make_job(folder, 3, overrides[3], "failed", reason='OutOfMemoryError: it, was = "large"\nsecond line')
    Plan(4, ["routing.iters", "model.dropout"], started=0.0).write(folder)
    return folder


def test_table_is_sorted_by_the_monitored_metric_and_has_a_row_per_job(sweep):
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
    assert header[:7] == ["job", "routing.iters", "model.dropout", "val", "accuracy", "test", "accuracy"]


def test_records_of_earlier_versions_are_summed_up_too(tmp_path):
    for number, accuracy in enumerate((0.9, 0.95)):
        make_job(
            tmp_path, number, [f"seed={number}"], val_accuracy=accuracy, test_accuracy=accuracy - 0.1, test_loss=0.1
        )
    assert "best       validation accuracy 92.50% ± 3.54%" in summarize(tmp_path)
    (row,) = table(tmp_path / "summary.csv")
    assert float(row["test_accuracy_mean"]) == pytest.approx(0.825)
    assert float(row["test_loss_mean"]) == pytest.approx(0.1)


def test_a_metric_that_somebody_adds_has_its_columns(tmp_path):
    for number, seen in enumerate((3.5, 4.5)):
        measured = {"val/loss": 0.2, "val/seen": seen, "val/accuracy": 0.9, "test/seen": 4.0, "train/loss": 0.1}
        make_job(tmp_path, number, [f"seed={number}"], metrics=measured)
    head, row, *_ = summarize(tmp_path).splitlines()
    assert head.split() == [
        *("seeds", "val", "accuracy", "test", "accuracy", "val", "seen", "test", "seen"),
        *("parameters", "train/s", "infer/s"),
    ]
    assert "4 ± 0.71" in row
    jobs, (setting,) = table(tmp_path / "sweep.csv"), table(tmp_path / "summary.csv")
    assert [job["val_seen"] for job in jobs] == ["3.5", "4.5"]
    assert list(jobs[0])[:8] == [
        *("job", "seed", "status", "val_accuracy", "test_accuracy", "val_seen", "test_seen", "val_loss"),
    ]
    assert (setting["val_seen_mean"], setting["test_seen_mean"], setting["val_loss_mean"]) == ("4.0", "4.0", "0.2")
    assert not [column for column in setting if column.startswith("train_loss")]


def test_what_only_the_test_measures_is_in_the_tables_for_programs_alone(tmp_path):
    make_job(tmp_path, 0, ["seed=0"], metrics={"val/accuracy": 0.9, "test/accuracy": 0.8, "test/recall": 0.7})
    assert "recall" not in summarize(tmp_path)
    assert table(tmp_path / "sweep.csv")[0]["test_recall"] == "0.7"


class TestMonitor:
    """Jobs are compared by what chose their best epochs."""

    def sweep_of(self, folder, monitor, values, **more):
        for number, value in enumerate(values):
            metrics = {"val/accuracy": 0.5 + number / 10, monitor: value, "test/accuracy": 0.5}
            make_job(folder, number, [f"routing.iters={number}"], metrics=metrics, monitor=monitor, **more)
        return summarize(folder)

    @pytest.mark.parametrize(
        ("monitor", "best"), [("val/loss", 1), ("train/loss", 1), ("val/calibration", 1), ("val/f1", 2)]
    )
    def test_the_best_is_the_lowest_where_lower_is_better(self, tmp_path, monitor, best):
        text = self.sweep_of(tmp_path, monitor, (0.3, 0.1, 0.4))
        assert f"best       {tmp_path}/{best} " in text
        assert table(tmp_path / "sweep.csv")[0]["job"] == table(tmp_path / "sweep.csv")[0]["routing.iters"] == str(best)
        assert table(tmp_path / "summary.csv")[0]["routing.iters"] == str(best)

    @pytest.mark.parametrize(("lower", "best"), [(True, 1), (False, 2)])
    def test_the_record_says_if_lower_is_better_of_what_a_plugin_measures(self, tmp_path, lower, best):
        text = self.sweep_of(tmp_path, "val/distance", (0.3, 0.1, 0.4), lower_is_better=lower)
        assert f"best       {tmp_path}/{best} " in text

    @pytest.mark.parametrize(("lower", "best"), [(True, 1), (False, 2)])
    @pytest.mark.parametrize("name", ["distance", "longest"])
    def test_of_an_old_record_the_option_says_the_direction_of_all_that_a_plugins_metric_measures(
        self, tmp_path, monkeypatch, name, lower, best
    ):
        option = dataclass(type("Distance", (), {"lower_is_better": lower, "also": ("longest",)}))
        monkeypatch.setitem(COMBINABLE["metrics"], "distance", option)
        text = self.sweep_of(tmp_path, f"val/{name}", (0.3, 0.1, 0.4), config={"monitor": name})
        assert f"best       {tmp_path}/{best} " in text

    def test_of_an_old_record_the_config_says_that_a_loss_is_monitored(self, tmp_path):
        config = {"monitor": "sparsity"}  # a part of a plugin's loss, whose name does not say that it is one
        assert f"best       {tmp_path}/1 " in self.sweep_of(tmp_path, "val/sparsity", (0.3, 0.1, 0.4), config=config)

    def test_it_is_the_first_column_even_if_it_is_a_loss(self, tmp_path):
        head, first, *_ = self.sweep_of(tmp_path, "val/loss", (0.3, 0.1, 0.4)).splitlines()
        assert head.split()[2:10] == ["val", "loss", "test", "loss", "val", "accuracy", "test", "accuracy"]
        assert first.split()[2:6] == ["0.1", "-", "60.00%", "50.00%"]

    def test_a_tie_has_no_best(self, tmp_path):
        text = self.sweep_of(tmp_path, "val/loss", (0.3, 0.1, 0.1))
        assert "no best    2 settings are equally good, validation loss 0.1\n" in text
        assert "evaluate" not in text

    def test_jobs_with_different_monitors_have_no_best(self, tmp_path):
        self.sweep_of(tmp_path, "val/loss", (0.3, 0.1))
        make_job(tmp_path, 2, ["routing.iters=3"], metrics={"val/accuracy": 0.9, "val/loss": 0.05})
        assert "best" not in summarize(tmp_path)


class TestSeeds:
    """A sweep over settings and seeds is summed up by setting."""

    @pytest.fixture
    def repeated(self, tmp_path):
        by_iters = {"1": (0.90, 0.92, 0.97), "3": (0.93, 0.94, 0.95)}  # the best seed is not in the best setting
        for number, (iters, seed) in enumerate((iters, seed) for iters in by_iters for seed in range(3)):
            accuracy = by_iters[iters][seed]
            make_job(
                *(tmp_path, number, [f"routing.iters={iters}", f"seed={seed}"]),
                metrics=accuracies(accuracy, accuracy - 0.1),
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
        assert head.split() == [
            *("routing.iters", "seeds", "val", "accuracy", "test", "accuracy", "parameters", "train/s", "infer/s")
        ]
        assert first.split() == ["3", "3", *["94.00%", "±", "1.00%", "84.00%", "±", "1.00%", "3,000", "101", "301"]]
        assert second.split()[:2] == ["1", "3"]

    def test_best_is_the_setting_with_the_best_mean_and_not_the_luckiest_seed(self, repeated):
        text = summarize(repeated)
        assert "best       routing.iters=3, validation accuracy 94.00% ± 1.00%" in text
        assert f"evaluate.py run={repeated}/3" in text  # its first seed

    def test_a_failed_job_is_not_counted_but_named(self, repeated):
        make_job(repeated, 6, ["routing.iters=3", "seed=3"], "failed", metrics={"val/accuracy": 0.1})
        assert "failed     jobs 6, see sweep.csv" in summarize(repeated)
        assert table(repeated / "summary.csv")[0]["seeds"] == "3"

    def test_without_validation_images_the_picture_shows_the_test_and_nothing_is_the_best(self, tmp_path):
        for number, iters in enumerate("1133"):
            overrides = [f"routing.iters={iters}", f"seed={number % 2}"]
            make_job(tmp_path, number, overrides, metrics={"test/accuracy": 0.9})
        Plan(4, ["routing.iters", "seed"], started=0.0).write(tmp_path)
        text = summarize(tmp_path)
        assert (tmp_path / "sweep.png").is_file()
        assert "90.00% ± 0.00%" in text
        assert "best" not in text

    def test_with_validation_images_in_some_jobs_only_nothing_is_the_best(self, repeated):
        make_job(repeated, 6, ["routing.iters=5", "seed=0"], metrics={"test/accuracy": 0.99})
        assert "best" not in summarize(repeated)
        assert len(table(repeated / "summary.csv")) == 3


def test_values_of_a_metric_are_grouped_in_the_numerical_order_of_the_setting():
    def job(iters):
        return Job(Path("0"), "completed", [f"routing.iters={iters}"])

    jobs = [(job("10"), 0.5), (job("2"), 0.6), (job("2"), 0.8), (job("two"), 0.1), (job("3"), None)]
    found = metric_by_value(jobs, ["routing.iters"])["routing.iters"]
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


def test_jobs_that_a_yaml_file_edited_meanwhile_has_made_different_are_not_averaged(tmp_path):
    for seed, rate in enumerate((0.1, 0.1, 0.2)):
        config = {"optimizer": {"name": "adam", "lr": rate}, "seed": seed, "figures": bool(seed)}
        metrics = {"val/accuracy": 0.5 + seed / 10}
        make_job(tmp_path, seed, [f"seed={seed}"], config=config, metrics=metrics, monitor="val/accuracy")
    text = summarize(tmp_path)
    assert "kept apart jobs whose config has changed meanwhile: optimizer.lr\n" in text
    assert [row["seeds"] for row in table(tmp_path / "summary.csv")] == ["1", "2"]


def test_seeds_are_averaged_whatever_folder_their_callbacks_and_loggers_write_to(tmp_path):
    for seed in (0, 1):
        foreign = {
            "callbacks": {"top_k": {"dirpath": f"sweep/{seed}"}},
            "logger": {"csv": {"save_dir": f"sweep/{seed}"}},
        }
        config = {"optimizer": {"name": "adam", "lr": 0.1}, "seed": seed, **foreign}
        make_job(tmp_path, seed, [f"seed={seed}"], config=config, metrics={"val/accuracy": 0.5}, monitor="val/accuracy")
    assert "kept apart" not in summarize(tmp_path)
    assert [row["seeds"] for row in table(tmp_path / "summary.csv")] == ["2"]
