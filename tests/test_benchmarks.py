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
