"""Comparing runs and sweeps by the command line, from folders made here."""

import json

import pytest
from conftest import make_job, record_of, run_in_process, table

CONFIG = {
    "data": {"name": "kmnist", "root": "somewhere", "batch_size": 128},
    "model": {"name": "capsnet", "dropout": 0.0},
    "routing": {"name": "dynamic", "iters": 3},
    "loss": {"name": "margin"},
    "optimizer": {"name": "adam", "lr": 0.001},
    "seed": 0,
}


def make_run(folder, number, seed=0, val=0.9, curve=(0.5, 0.9), **groups):
    """A completed run of two epochs, whose settings differ from CONFIG in the given groups."""
    config = CONFIG | {"seed": seed} | groups
    make_job(
        *(folder, number, []),
        config=config,
        seed=seed,
        metrics={"val/accuracy": val, "test/accuracy": val - 0.1},
        parameters=1000,
        epochs=2,
        best_epoch=2,
    )
    rows = "".join(f"{epoch},{value},{value}\n" for epoch, value in enumerate(curve, 1))
    (folder / str(number) / "metrics.csv").write_text(f"epoch,train/accuracy,val/accuracy\n{rows}")
    return folder / str(number)


def write_robustness(run, epoch=2):
    lines = [f"rotation,{level},degrees,{accuracy},{epoch}\n" for level, accuracy in ((0, 0.8), (10, 0.4))]
    (run / "robustness.csv").write_text("distortion,level,unit,accuracy,epoch\n" + "".join(lines))


def compare(folder, *paths):
    return run_in_process("capsnet.compare", *map(str, paths), cwd=folder)


def comparison(folder):
    (made,) = (folder / "outputs/comparisons").iterdir()
    assert (made / "comparison.png").read_bytes().startswith(b"\x89PNG")
    return table(made / "comparison.csv")


CNN = {"model": {"name": "cnn", "dropout": 0.5}, "routing": {"name": "none"}}


def test_runs_that_differ_in_their_seed_are_one_row_with_mean_and_deviation(tmp_path):
    runs = [make_run(tmp_path, seed, seed, val=0.9 + seed / 100) for seed in range(3)]
    done = compare(tmp_path, *runs, make_run(tmp_path, 3, val=0.8, **CNN))
    assert done.returncode == 0, done.stderr
    first, second = comparison(tmp_path)
    assert [first["label"], second["label"]] == ["capsnet, dynamic", "cnn"]
    assert first["seeds"] == "3"
    assert float(first["val_accuracy_mean"]) == pytest.approx(0.91)
    assert float(first["test_accuracy_std"]) == pytest.approx(0.01)
    assert "91.00% ± 1.00%" in done.stdout


def test_a_repeated_seed_counts_once_and_is_shown_apart_if_its_result_is_another(tmp_path):
    runs = [make_run(tmp_path, number, seed=0, val=val) for number, val in enumerate((0.9, 0.9, 0.8))]
    done = compare(tmp_path, *runs, make_run(tmp_path, 3, seed=1, val=0.92))
    assert "1: same settings, seed and result as" in done.stdout
    assert "2: same settings and seed as" in done.stdout
    assert [(row["label"], row["seeds"]) for row in comparison(tmp_path)] == [("capsnet", "2"), ("capsnet (2)", "1")]


def test_runs_of_different_versions_of_a_plugin_are_told_apart(tmp_path):
    runs = [make_run(tmp_path, number, seed=number) for number in range(2)]
    for number, run in enumerate(runs):
        plugin = {"plugin": {"path": "x.py", "sha256": f"{number}" * 64}}
        (run / "results.json").write_text(json.dumps(record_of(run) | plugin))
    compare(tmp_path, *runs)
    assert {row["label"] for row in comparison(tmp_path)} == {"plugin=00000000", "plugin=11111111"}


def test_networks_are_labelled_by_the_fewest_settings_that_tell_them_apart(tmp_path):
    runs = [
        make_run(tmp_path, 0),
        make_run(tmp_path, 1, routing={"name": "dynamic", "iters": 1}),
        make_run(tmp_path, 2, routing={"name": "uniform"}),
        make_run(tmp_path, 3, optimizer={"name": "adam", "lr": 0.01}, **CNN),
    ]
    done = compare(tmp_path, *runs)
    assert {row["label"] for row in comparison(tmp_path)} == {
        "capsnet, dynamic, iters=3",
        "capsnet, dynamic, iters=1",
        "capsnet, uniform",
        "cnn",
    }
    assert "they also differ in  model.dropout, optimizer.lr\n" in done.stdout


def test_the_jobs_of_a_sweep_are_compared_and_unfinished_ones_left_out(tmp_path):
    sweep = tmp_path / "sweep"
    for seed in range(2):
        make_run(sweep, seed, seed)
    make_job(sweep, 2, ["seed=2"], "running")
    done = compare(tmp_path, "sweep")
    assert "sweep/2: running, and left out" in done.stdout
    (row,) = comparison(tmp_path)
    assert row["seeds"] == "2"


def test_robustness_is_compared_where_it_was_measured_in_the_best_epoch(tmp_path):
    measured, other_epoch, never = (
        make_run(tmp_path, number, optimizer={"name": "adam", "lr": number + 1}) for number in range(3)
    )
    write_robustness(measured)
    write_robustness(other_epoch, epoch=1)
    done = compare(tmp_path, measured, other_epoch, never)
    assert "1/robustness.csv: is not from the best epoch, and is left out" in done.stdout
    means = sorted(row["rotation"] for row in comparison(tmp_path))
    assert means[:2] == ["", ""]
    assert float(means[2]) == pytest.approx(0.4)  # the undistorted images do not count


def test_a_setting_that_an_older_record_lacks_has_its_default(tmp_path):
    newer = {"trainer": {"average_weights": 0.0}, "augment": {"mixup": 0.0}}
    compare(tmp_path, make_run(tmp_path, 0), make_run(tmp_path, 1, seed=1, **newer))
    (row,) = comparison(tmp_path)
    assert (row["label"], row["seeds"]) == ("capsnet", "2")


def test_settings_that_only_one_plugin_knows_leave_no_network_without_a_label_of_its_own(tmp_path):
    model = CONFIG["model"] | {"name": "of a plugin"}
    models = [model, model | {"depth": "none"}, model | {"depth": 3}]
    compare(tmp_path, *(make_run(tmp_path, number, model=model) for number, model in enumerate(models)))
    assert {row["label"] for row in comparison(tmp_path)} == {"of a plugin", "of a plugin (2)", "depth=3"}


def test_runs_on_other_images_are_never_averaged(tmp_path):
    runs = [make_run(tmp_path, number, seed=number) for number in range(2)]
    for run, digest in zip(runs, ("a" * 64, "b" * 64), strict=True):
        record = json.loads((run / "results.json").read_text())
        (run / "results.json").write_text(json.dumps(record | {"dataset": {"name": "folder", "sha256": digest}}))
    done = compare(tmp_path, *runs)
    assert {row["label"] for row in comparison(tmp_path)} == {"images=aaaaaaaa", "images=bbbbbbbb"}
    assert "tested on different images" in done.stdout


def change_record(run, metrics, **changes):
    """Add to a run's metrics, and replace other parts of its record."""
    record = record_of(run)
    (run / "results.json").write_text(json.dumps(record | {"metrics": record["metrics"] | metrics} | changes))


def test_a_metric_that_somebody_adds_has_its_columns(tmp_path):
    run = make_run(tmp_path, 0)
    change_record(run, {"val/balanced_accuracy": 0.4, "test/balanced_accuracy": 0.5, "val/seen": 12.25})
    printed = compare(tmp_path, run).stdout
    assert "val balanced accuracy  test balanced accuracy  val seen" in printed
    assert "40.00%" in printed
    assert "12.25" in printed
    (row,) = comparison(tmp_path)
    assert (row["test_balanced_accuracy_mean"], row["val_seen_mean"]) == ("0.5", "12.25")


def test_networks_are_sorted_by_the_monitored_metric_and_its_direction(tmp_path):
    runs = [make_run(tmp_path, 0, val=0.9), make_run(tmp_path, 1, val=0.8, **CNN)]
    for run, loss in zip(runs, (0.2, 0.1), strict=True):
        change_record(run, {"val/loss": loss}, monitor="val/loss")
    done = compare(tmp_path, *runs)
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in comparison(tmp_path)] == ["cnn", "capsnet, dynamic"]
    assert "different metrics" not in done.stdout


def test_runs_that_monitored_different_metrics_are_sorted_by_that_of_the_first_and_it_is_said(tmp_path):
    runs = [make_run(tmp_path, 0, val=0.8), make_run(tmp_path, 1, val=0.9, **CNN)]
    change_record(runs[1], {"val/loss": 0.1}, monitor="val/loss")
    done = compare(tmp_path, *runs)
    assert "chose their best epochs by different metrics; they are sorted by val/accuracy" in done.stdout
    assert [row["label"] for row in comparison(tmp_path)] == ["cnn", "capsnet, dynamic"]


class TestRefused:
    def refusal(self, folder, *paths):
        done = compare(folder, *paths)
        assert done.returncode == 2
        assert not (folder / "outputs").exists()
        return done.stderr

    def test_a_folder_that_does_not_exist(self, tmp_path):
        assert self.refusal(tmp_path, "nowhere") == "Error: nowhere: there is no such folder\n"

    def test_a_folder_without_runs(self, tmp_path):
        (tmp_path / "empty").mkdir()
        assert self.refusal(tmp_path, "empty") == "Error: empty: has no run and no sweep\n"

    def test_a_damaged_record(self, tmp_path):
        make_run(tmp_path, 0)
        (tmp_path / "0/results.json").write_text("{")
        assert "not a run's record" in self.refusal(tmp_path, "0")

    @pytest.mark.parametrize("name", ["metrics.csv", "robustness.csv"])
    def test_a_damaged_table(self, tmp_path, name):
        (make_run(tmp_path, 0) / name).write_text("epoch\nx\n")
        assert name in self.refusal(tmp_path, "0")
