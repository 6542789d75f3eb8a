"""What TensorBoard shows of runs and sweeps."""

import itertools
import json

import pytest
from conftest import DIGITS, curves_of, digits_config, only_sweep, run_in_process, table
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from capsnet.settings.config import leaves

FIGURES = {"curves", "reconstructions", "perturbations", "confusion", "mistakes"}
METRICS = {
    f"{split}/{name}"
    for split in ("train", "val", "test")
    for name in ("loss", "margin_loss", "reconstruction_loss", "accuracy")
}


def hyperparameters(curves, *run: str) -> dict:
    """A run's hyper-parameters in the HPARAMS tab, by name."""
    content = curves.SummaryMetadata(*run, metadata.SESSION_START_INFO_TAG).plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


@pytest.fixture(scope="module")
def events(finished_run):
    return curves_of(finished_run)


class TestRun:
    def test_has_curves_of_every_metric_over_the_optimizers_steps(self, events, finished_run):
        tags = events.Tags()["scalars"]
        assert set(tags) >= METRICS | {"lr"}
        rows = table(finished_run / "metrics.csv")
        assert [event.step for event in events.Scalars("val/accuracy")] == [int(row["step"]) for row in rows]
        assert [event.value for event in events.Scalars("epoch")] == [1, 2, 3]

    def test_has_the_config_as_a_text(self, events):
        (text,) = events.Tensors("config/text_summary")
        assert b"iters: 2" in text.tensor_proto.string_val[0]

    def test_opens_the_hyperparameters_with_what_was_overridden(self, events):
        content = events.SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
        columns = [info.name for info in metadata.parse_experiment_plugin_data(content).hparam_infos]
        assert columns[:4] == ["data.name", "data.batch_size", "trainer.max_epochs", "routing.iters"]

    def test_has_every_figure_and_they_come_after_the_curves(self, events):
        tags = events.Tags()
        assert set(tags["images"]) == {f"visuals/{name}" for name in FIGURES}
        assert min(tags["images"]) > max(METRICS)  # TIME SERIES sorts its cards by name

    def test_has_hyperparameters_and_outcome(self, events, finished_run):
        assert hyperparameters(events)["routing.iters"] == 2
        record = json.loads((finished_run / "results.json").read_text())
        for name in ("val_accuracy", "test_accuracy"):
            assert events.Scalars(f"hparam/{name}")[0].value == pytest.approx(record[name])


@pytest.mark.slow
def test_names_the_jobs_of_a_sweep_by_what_varies_and_tabulates_all_hyperparameters(tmp_path):
    arguments = ("augment=none,shift", "trainer.max_epochs=1,2")
    done = run_in_process("train.py", "-m", *DIGITS, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    curves = EventMultiplexer().AddRunsFromDirectory(str(only_sweep(tmp_path))).Reload()
    jobs = list(itertools.product(("none", "shift"), (1, 2)))
    runs = [f"{number}/augment={augment},max_epochs={epochs}" for number, (augment, epochs) in enumerate(jobs)]
    assert sorted(curves.Runs()) == runs
    columns = {leaf.key for leaf in leaves(digits_config()) if leaf.setting.hyperparameter and leaf.value is not None}
    for run, (augment, epochs) in zip(runs, jobs, strict=True):
        found = hyperparameters(curves, run)
        assert found.keys() == columns | {"trainer.precision"}
        assert found["augment.max_shift"] == (2 if augment == "shift" else 0)
        assert found["trainer.max_epochs"] == epochs
