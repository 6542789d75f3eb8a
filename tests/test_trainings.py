"""Tables of trainings: what a CSV file has is not trained again, and differences are paired by seed."""

import csv
import importlib
import math
import sys

import pytest
from conftest import DIGITS, REPO, run_command

sys.path.append(str(REPO / "benchmarks"))

import trainings

from capsnet import compose

ACCURACIES = {"plain": (0.5, 0.6), "other": (0.54, 0.62), "third": (0.9,)}
TRAIN = f"""
import json, sys
from pathlib import Path
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
if given["model"] == "fails":
    sys.exit("no such model")
metrics = {{"test/accuracy": {ACCURACIES}[given["model"]][int(given["seed"])]}}
record = {{"status": "completed", "metrics": metrics, "git_dirty": False, "git_commit": "0123456789"}}
record |= dict.fromkeys({trainings.RECORDED[:-1]}, 1)
folder = Path(given["hydra.run.dir"])
folder.mkdir(parents=True)
(folder / "results.json").write_text(json.dumps(record))
print(given["seed"], file=Path("asked").open("a"))
"""
PROGRAMS = [
    path.stem for path in sorted((REPO / "benchmarks").glob("*.py")) if "from trainings import" in path.read_text()
]


def planned(models=ACCURACIES):
    return [
        ({"network": name, "seed": seed}, [f"model={name}", f"seed={seed}"])
        for name in models
        for seed in range(len(ACCURACIES.get(name, (0,))))
    ]


@pytest.fixture
def table_of(tmp_path, monkeypatch):
    """Makes a table whose trainings are done by a program that only writes the record."""
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.setattr(trainings, "REPO", tmp_path)
    monkeypatch.chdir(tmp_path)

    def made(*arguments):
        parsed = trainings.parse(trainings.parser_of("", "out", control="plain"), arguments)
        return trainings.Trainings(parsed, ("network", "seed"), {"accuracy": "test/accuracy", "loss": "test/loss"})

    return made


def test_what_the_file_has_is_not_trained_again(table_of, tmp_path):
    table_of().run(planned(["plain"]))
    table_of("--out", "elsewhere", "--csv", "out/rows.csv").run(planned())
    assert len((tmp_path / "asked").read_text().split()) == len(planned())
    with (tmp_path / "out/rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["settings"] for row in rows] == [
        f"{' '.join(settings)} trainer.precision=32-true" for _, settings in planned()
    ]
    assert [(row["accuracy"], row["loss"]) for row in rows][:2] == [("0.5", ""), ("0.6", "")]


def test_settings_may_stand_anywhere_and_are_in_the_row(table_of):
    table = table_of("trainer=gpu", "--seeds", "0", "1", "trainer.precision=bf16-mixed")
    assert table.arguments.seeds == [0, 1]
    table.run(planned(["third"]))
    assert table.rows()[0]["settings"] == "model=third seed=0 trainer=gpu trainer.precision=bf16-mixed"


def test_differences_to_the_control_are_paired_by_seed(table_of):
    table_of().run(planned())
    assert table_of().table("plain").splitlines()[2:] == [
        "| plain | 1 | 1 | 1 | 2 | 55.00% ± 7.07% | - | - | - |",
        "| other | 1 | 1 | 1 | 2 | 58.00% ± 5.66% | +3.00 (1.00) | - | - |",
        "| third | 1 | 1 | 1 | 1 | 90.00% | +40.00 | - | - |",
    ]


def test_trainings_that_cannot_be_told_apart_are_not_averaged(table_of):
    table_of().run(planned(["plain"]))
    table = table_of("data.limit=100")
    table.run(planned(["plain"]))
    with pytest.raises(SystemExit, match="plain with seed 0 was trained with different settings"):
        table.table()


def test_one_that_fails_is_named_and_the_others_are_trained(table_of):
    table = table_of()
    with pytest.raises(SystemExit, match="these failed:\nmodel=fails seed=0"):
        table.run(planned(["fails", "third"]))
    assert [row["network"] for row in table.rows()] == ["third"]


def test_a_file_with_other_columns_is_refused_before_any_training(table_of, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match=r"other\.csv: has other columns"):
        table_of("--csv", "other.csv").run(planned())
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_that_a_program_trains_can_be_composed(program):
    module = importlib.import_module(program)
    arguments = trainings.parse(module.parser(), ["--seeds", "0"])
    for _, settings in module.planned(arguments):
        if not any(setting.startswith("plugin=") for setting in settings):
            compose(*settings)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["routings", "heads"])
def test_what_it_trains_with_a_plugin_can_be_composed_too(program, tmp_path):
    module = importlib.import_module(program)
    arguments = trainings.parse(module.parser(), ["--seeds", "0"])
    for _, settings in module.planned(arguments):
        if any(setting.startswith("plugin=") for setting in settings):
            done = run_command("train.py", *settings, "--cfg", "job", cwd=tmp_path)
            assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_training_for_which_there_is_no_time_is_not_begun(tmp_path):
    settings = [*DIGITS, "trainer.max_epochs=1"]
    assert trainings.train(tmp_path / "run", settings, deadline=0) == 0
    assert not (tmp_path / "run").exists()
    assert trainings.train(tmp_path / "run", settings, math.inf) == 0
    assert trainings.record_of(tmp_path / "run")
