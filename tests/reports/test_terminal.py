"""Claims about what a person reads in the terminal before and after a run, and after an evaluation."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sklearn.metrics import precision_recall_fscore_support

from capsnet.reports.terminal import command, evaluation_summary, run_outcome, run_summary
from capsnet.runs.record import RunRecord
from capsnet.settings import plugins
from capsnet.settings.parse import config_from_dict
from capsnet.settings.plugins import Plugin
from capsnet.tasks.classify import Classify


def rows_of(text):
    """What a text of two columns says, by the name in the first."""
    lines = [line.strip().split("  ", 1) for line in text.splitlines()]
    return {name: value.strip() for name, value in lines}


def record(status="completed", **known):
    return RunRecord(status, [], versions={}, **known)


class TestRunSummary:
    DATASET = SimpleNamespace(title="digits", counts={"train": 1293, "val": 144})
    RECORD = record("running", parameters=8_215_568, device="some processor", precision="32-true")

    def rows(self, processes=1, **settings):
        config = config_from_dict({"data": {"name": "digits"}}, settings)
        return rows_of(run_summary(config, self.DATASET, self.RECORD, Path("outputs/run").absolute(), processes))

    def test_says_what_is_trained_on_what_and_where(self):
        assert self.rows() == {
            "dataset": "digits, 1,293 training, 144 validation images",
            "model": "capsnet, 8,215,568 parameters, dynamic (iters 3) routing",
            "training": "10 epochs, batches of 64, seed 0",
            "device": "some processor, 32-true",
            "run": "outputs/run",
        }

    def test_of_a_routing_it_names_the_iterations_and_what_differs_from_the_defaults(self):
        assert self.rows(**{"routing.leaky": True})["model"].endswith(", dynamic (iters 3, leaky True) routing")

    def test_says_how_images_are_augmented_how_they_are_routed_and_how_processes_share_a_batch(self):
        rows = self.rows(
            processes=3,
            routing="uniform",
            **{"augment.max_shift": 2, "augment.cutout_size": 8, "data.batch_size": 100, "trainer.max_epochs": 1},
        )
        assert rows["dataset"].endswith(" images, max_shift 2, cutout_size 8")
        assert rows["model"].endswith(" parameters, uniform routing")
        assert rows["training"] == "1 epoch, batches of 100 (34 in each of 3 processes), seed 0"


KNOWN = {
    "epochs": 10,
    "best_epoch": 7,
    "monitor": "val/accuracy",
    "metrics": {"val/loss": 0.1, "val/accuracy": 0.98456, "val/f1": 0.9, "test/loss": 0.2, "test/accuracy": 0.9},
    "train_seconds": 760,
    "train_images_per_second": 1234.4,
}


class TestRunOutcome:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        run = tmp_path / "outputs/run"
        (run / "checkpoints").mkdir(parents=True)
        (run / "figures").mkdir()
        for name in ("best", "last"):
            (run / f"checkpoints/{name}.ckpt").write_text("")
        return run

    def test_of_a_complete_run_says_how_good_it_is_and_what_can_be_done_with_it(self, run):
        rows = rows_of(run_outcome(record(**KNOWN), run))
        assert rows["best epoch"] == "7 of 10"
        assert (rows["validation accuracy"], rows["test accuracy"]) == ("98.46%", "90.00%")
        assert rows["time"] == "12 min 40 s, 1,234 images/s"
        assert rows["evaluate"].endswith("evaluate.py run=outputs/run")
        assert rows["curves"].endswith("tensorboard --logdir outputs/run")
        assert rows["figures"] == "outputs/run/figures"
        assert not {"status", "continue"} & rows.keys()

    def test_of_an_interrupted_run_says_how_to_continue_it(self, run):
        rows = rows_of(run_outcome(record("interrupted", **KNOWN | {"metrics": {"val/accuracy": 0.98456}}), run))
        assert rows["status"] == "interrupted"
        assert rows["test accuracy"] == "-"
        assert rows["continue"].endswith("train.py resume=outputs/run")
        assert "figures" not in rows

    def test_offers_nothing_that_cannot_be_done(self, tmp_path):
        rows = rows_of(run_outcome(record("interrupted"), tmp_path))
        assert rows["best epoch"] == "- of 0"
        assert not {"continue", "evaluate", "figures"} & rows.keys()


class TestCommand:
    def test_can_be_typed_as_it_stands_from_the_projects_folder(self, monkeypatch):
        monkeypatch.chdir(Path(__file__).parents[2])
        python, *words = command("train.py", "resume=a b").split(" ", 2)
        assert python == "python" or Path(python).resolve().samefile(sys.executable)
        assert words == ["train.py", "'resume=a b'"]

    def test_names_the_plugin_if_there_is_one(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(plugins, "_loaded", Plugin(tmp_path / "my plugin.py", "ab"))
        assert command("train.py", "resume=run").endswith("train.py resume=run 'plugin=my plugin.py'")


REPORT = {
    "class_names": ["o", "tsu", "wo"],
    "confusion": [[900, 20, 80], [0, 5, 0], [0, 0, 0]],
    "accuracy": 905 / 1005,
    "balanced_accuracy": 0.95,
    "loss": 0.03456789,
    "per_class_accuracy": {"o": 0.9, "tsu": 1.0, "wo": None},
}


class TestEvaluationSummary:
    def test_says_how_many_images_were_recognized_of_each_class_and_for_what_they_were_taken(self):
        rows = rows_of(evaluation_summary(REPORT, Classify().rows(REPORT)))
        assert rows["accuracy"] == "90.05% of 1,005 images"
        assert rows["loss"] == "0.0346"
        assert rows["o"] == "90.00%   precision 100.00%, F1  94.74%   most often taken for wo (80)"
        assert rows["tsu"] == "100.00%   precision  20.00%, F1  33.33%"
        assert rows["wo"] == "no images"

    def test_says_the_mean_over_the_classes_where_they_are_unbalanced(self):
        assert rows_of(evaluation_summary(REPORT, Classify().rows(REPORT)))["balanced accuracy"].startswith("95.00%")
        equal = REPORT | {"confusion": [[5, 0, 0], [0, 5, 0], [0, 1, 5]]}
        assert "balanced accuracy" not in rows_of(evaluation_summary(equal, Classify().rows(equal)))

    def test_lists_only_the_worst_of_many_classes_the_worst_first(self):
        names = [f"class {number}" for number in range(200)]
        confusion = [[0] * 200 for _ in names]
        for number in range(200):
            confusion[number][number], confusion[number][0] = number % 50, 50 - number % 50
        accuracies = {name: (number % 50) / 50 for number, name in enumerate(names)}
        report = {"class_names": names, "confusion": confusion, "accuracy": 0.5, "loss": 1, "balanced_accuracy": 0.5}
        report |= {"per_class_accuracy": accuracies}
        rows = rows_of(evaluation_summary(report, Classify().rows(report)))
        listed = [name for name in rows if name.startswith("class ")]
        assert len(listed) == 15
        assert listed[:5] == ["class 0", "class 50", "class 100", "class 150", "class 1"]
        assert rows["class 50"] == "0.00%   precision   0.00%, F1   0.00%   most often taken for class 0 (50)"

    def test_says_precision_recall_and_f1_as_scikit_learn_defines_them(self):
        confusion = [[7, 3, 0], [2, 5, 0], [0, 0, 0]]
        pairs = [(true, guess) for true in range(3) for guess in range(3) for _ in range(confusion[true][guess])]
        wanted = precision_recall_fscore_support(*zip(*pairs, strict=True), average="macro", zero_division=0)[:3]
        report = REPORT | {"confusion": confusion}
        rows = rows_of(evaluation_summary(report, Classify().rows(report)))
        assert rows["means"] == "precision {:.2%}, recall {:.2%}, F1 {:.2%}, over the classes".format(*wanted)
        assert rows["tsu"].startswith("71.43%   precision  62.50%, F1  66.67%")
