"""Benchmarks run to the end. What they measure is in benchmarks/RESULTS.md."""

import json

import pytest
from conftest import run_command

from capsnet.settings.parse import config_from_dict

pytestmark = pytest.mark.slow


def measured(folder, script, *arguments):
    """The rows that a benchmark writes to its JSON file."""
    done = run_command(f"benchmarks/{script}", *arguments, "--json", "found.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())["rows"]


def test_classical_methods_are_tested_once_for_each_seed(tmp_path):
    rows = measured(tmp_path, "classical.py", "--data", "digits", "--seeds", "1")
    assert [row["seed"] for row in rows] == [0, 0, 0]
    assert all(0.9 < row["test_accuracy"] < 1 for row in rows)


def test_networks_are_timed_in_both_layouts_next_to_capsnet(tmp_path):
    rows = measured(tmp_path, "networks.py", "--networks", "small_cnn", "--batch-size", "2", "--rounds", "1")
    timed = [(row["network"], row["layout"]) for row in rows]
    assert timed == [("capsnet", "contiguous"), ("small_cnn", "contiguous"), ("small_cnn", "channels-last")]
    assert all(row["ms_per_image"] > 0 for row in rows)


def test_held_out_styles_are_a_dataset_with_every_image_in_one_of_two_parts(tmp_path):
    done = run_command(
        "benchmarks/styles.py", "kmnist_7k", "styles", "--data", "digits", "--clusters", "3", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    counts = {}
    for config in ({"name": "idx", "root": str(tmp_path / "styles")}, {"name": "digits"}):
        dataset = config_from_dict({"data": {**config, "val_size": 0}}).data.build()
        dataset.read_training_images()
        dataset.read_test_images()
        counts[config["name"]] = dataset.counts
    assert sum(counts["idx"].values()) == counts["digits"]["train"]
    assert 0.15 * counts["digits"]["train"] <= counts["idx"]["test"] < 0.8 * counts["digits"]["train"]


def test_a_table_of_trainings_has_a_row_for_each_and_repeats_none(tmp_path):
    arguments = ["--data", "digits", "--limit", "100", "--epochs", "1", "--seeds", "0", "--networks", "small_cnn"]
    done = run_command("benchmarks/overlap.py", *arguments, "--out", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "runs/rows.csv").read_text()
    assert [line.split(",")[:4] for line in rows.splitlines()[1:]] == [
        ["small_cnn", "pairs", "digits", "0"],
        ["small_cnn", "single", "digits", "0"],
    ]
    again = run_command(
        "benchmarks/overlap.py", *arguments, "--out", "elsewhere", "--csv", "runs/rows.csv", cwd=tmp_path
    )
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "runs/rows.csv").read_text() == rows
    assert not (tmp_path / "elsewhere").exists()
    assert "| small_cnn | single | digits | 1 | 161,578 | 1 |" in again.stdout
