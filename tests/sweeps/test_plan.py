"""What a sweep's folder says about it, and how little of that is trusted when it continues."""

import json
from pathlib import Path

import pytest

from capsnet.errors import CheckpointError, ConfigError, PluginError
from capsnet.settings.parse import quoted
from capsnet.sweeps.plan import Plan, continuing_arguments, job_label, refuse_other_sweep


def sweep_of(folder: Path, *overrides: str) -> Path:
    """A folder with Hydra's record of a sweep."""
    (folder / "multirun.yaml").write_text(json.dumps({"hydra": {"overrides": {"task": overrides}}}))
    return folder


class TestContinuingArguments:
    def test_are_the_sweeps_own_overrides_what_is_given_and_its_folder(self, tmp_path):
        sweep = sweep_of(tmp_path, "sweep=routing", "model.dropout=0,0.5")
        found = continuing_arguments(sweep, ["hydra/launcher=joblib"])
        assert found[:-1] == ["--multirun", "sweep=routing", "model.dropout=0,0.5", "hydra/launcher=joblib"]
        assert found[-1] == f"hydra.sweep.dir={quoted(str(tmp_path))}"

    @pytest.mark.parametrize(
        "override",
        [
            "--experimental-rerun=x.pickle",
            "--config-dir=elsewhere",
            "+evil=x",
            "hydra.callbacks.x._target_=os.system",
            "+hydra/launcher=evil",
            "hydra/launcher=joblib",
            "+model.x={_target_:os.system}",
            "experiment=../../evil",
        ],
    )
    def test_overrides_that_could_choose_code_are_refused(self, tmp_path, override):
        with pytest.raises(CheckpointError, match="may contain only settings"):
            continuing_arguments(sweep_of(tmp_path, override), [])

    @pytest.mark.parametrize("given", ["trainer.max_epochs=20", "seed=4", "+data.limit=3", "~seed"])
    def test_settings_cannot_change_when_a_sweep_continues(self, tmp_path, given):
        with pytest.raises(ConfigError, match="cannot change when a sweep continues"):
            continuing_arguments(sweep_of(tmp_path, "seed=1,2"), [given])

    def test_a_plugin_is_not_taken_from_the_folder_but_has_to_be_given_again(self, tmp_path):
        sweep = sweep_of(tmp_path, "plugin=mine.py", "model=tiny", "seed=1,2")
        with pytest.raises(PluginError, match=r"add plugin=mine\.py, which the sweep was started with"):
            continuing_arguments(sweep, [])
        found = continuing_arguments(sweep, ["plugin=moved/mine.py"])
        assert found[:-1] == ["--multirun", "model=tiny", "seed=1,2", "plugin=moved/mine.py"]

    def test_neither_are_loggers_and_callbacks(self, tmp_path):
        sweep = sweep_of(tmp_path, "callbacks=lr", "logger=csv", "seed=1,2")
        with pytest.raises(PluginError, match=r"add callbacks=lr, which the sweep was started with"):
            continuing_arguments(sweep, ["logger=csv"])
        found = continuing_arguments(sweep, ["--config-dir=mine", "callbacks=mine", "logger=none"])
        assert found[:-1] == ["--multirun", "--config-dir=mine", "seed=1,2", "callbacks=mine", "logger=none"]

    def test_nor_what_reads_the_environment_and_more_yaml_files(self, tmp_path):
        override = "data.root=${oc.env:SECRET}"
        sweep = sweep_of(tmp_path, "model=wider", override, "seed=1,2")
        sources = [{"path": "/mine", "schema": "file", "provider": "command-line"}]
        content = json.loads((sweep / "multirun.yaml").read_text())
        content["hydra"]["runtime"] = {"config_sources": sources}
        (sweep / "multirun.yaml").write_text(json.dumps(content))
        with pytest.raises(PluginError, match=r"add 'data.root=\$\{oc.env:SECRET\}' --config-dir=/mine, which"):
            continuing_arguments(sweep, [])
        found = continuing_arguments(sweep, ["--config-dir=here", override])
        assert found[:-1] == ["--multirun", "--config-dir=here", "model=wider", override, "seed=1,2"]  # as at the start

    def test_a_damaged_record_is_refused(self, tmp_path):
        (tmp_path / "multirun.yaml").write_text("a: [")
        with pytest.raises(CheckpointError, match=r"multirun\.yaml"):
            continuing_arguments(tmp_path, [])


class TestOtherSweep:
    def test_in_the_same_folder_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match=r"has a sweep with other settings \(seed=1,2\)"):
            refuse_other_sweep(sweep_of(tmp_path, "seed=1,2"), ["seed=4,5"])

    def test_the_same_sweep_is_not_also_if_its_plugin_was_moved(self, tmp_path):
        refuse_other_sweep(tmp_path, ["seed=1,2"])
        refuse_other_sweep(sweep_of(tmp_path, "plugin=a.py", "seed=1,2"), ["seed=1,2", "plugin=b/a.py"])


class TestJobLabel:
    """Curves in TensorBoard are named by it."""

    @pytest.mark.parametrize(
        ("settings", "label"),
        [
            ({"routing.iters": 3, "model.dropout": 0.5}, "iters=3,dropout=0.5"),
            ({"model.name": "a", "loss.name": "b", "seed": 1}, "model.name=a,loss.name=b,seed=1"),
            (
                {"routing.iters": 3, "model.dropout": 0.25, "augment.cutout_size": 12, "optimizer.lr": 0.001},
                "iters=3,dropout=0.25,cutout_size=12,...",
            ),
        ],
        ids=["names alone", "groups where names are the same", "at most forty characters"],
    )
    def test_names_what_the_sweep_varies(self, tmp_path, settings, label):
        Plan(4, list(settings), started=0.0).write(tmp_path)
        overrides = ["data=digits", *(f"{key}={value}" for key, value in settings.items())]
        assert job_label(tmp_path / "0", overrides) == label

    def test_is_empty_for_a_run_that_is_not_part_of_a_sweep(self, tmp_path):
        assert job_label(tmp_path / "run", ["seed=1"]) == ""
