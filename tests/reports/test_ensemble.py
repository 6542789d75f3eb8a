"""Claims about several runs together, as `evaluate.py` scores them."""

import dataclasses

import pytest
import torch
from conftest import digits_config, run_in_process

from capsnet.errors import ConfigError
from capsnet.files import read_json
from capsnet.losses import CrossEntropyLoss
from capsnet.reports.ensemble import evaluate_ensemble
from capsnet.runs.checkpoints import build_network, load_checkpoint
from capsnet.settings.loss import CrossEntropy
from capsnet.settings.model import SmallCNN
from capsnet.settings.routing import NoRouting
from capsnet.training.run import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A capsule network and a network with logits, on the same digits."""
    capsules = digits_config()
    logits = dataclasses.replace(capsules, model=SmallCNN(), routing=NoRouting(), loss=CrossEntropy(), seed=1)
    folders = []
    for name, config in (("capsules", capsules), ("logits", logits)):
        folders.append(tmp_path_factory.mktemp("ensemble") / name)
        folders[-1].mkdir()
        train(config, folders[-1])
    return folders


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A new working folder, where outputs/ then appears."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shares_by_hand(run, images):
    """Scores of a run's best checkpoint that sum to one, and its own predictions."""
    config, weights, *_ = load_checkpoint(run / "checkpoints/best.ckpt")
    network = build_network(config, (1, 28, 28), 10).eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        scores = network(images).scores
    return scores.softmax(1) if run.name == "logits" else scores / scores.sum(1, keepdim=True)


def test_the_prediction_is_the_largest_mean_of_scores_that_sum_to_one(runs, here):
    report, path = evaluate_ensemble(runs, {})
    dataset = digits_config().data.build()
    images, labels = dataset.read_test_images()
    shares = [shares_by_hand(run, images / 255) for run in runs]
    expected = float((sum(shares).argmax(1) == labels).double().mean())
    assert report["accuracy"] == pytest.approx(expected, abs=1.5 / len(labels))  # one image may be between two classes
    for member, own, run in zip(report["members"], shares, runs, strict=True):
        assert member["accuracy"] == pytest.approx(float((own.argmax(1) == labels).double().mean()))
        assert member["accuracy"] == read_json(run / "evaluation.json")["accuracy"]
    assert sum(map(sum, report["confusion"])) == len(labels)
    assert read_json(path) == report


@pytest.mark.slow
def test_command_writes_to_a_folder_of_its_own_and_shows_every_member(runs, tmp_path):
    before = [(run / "evaluation.json").read_bytes() for run in runs]
    done = run_in_process("evaluate.py", f"run=[{runs[0]}, {runs[1]}]", "shifts=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "outputs/ensembles").glob("*/evaluation.json")
    report = read_json(written)
    for name in ("capsules", "logits", "all 2 together", "over 9 shifts"):
        assert name in done.stdout
    assert f"{report['accuracy']:.2%}" in done.stdout
    assert f"{report['shifts']['accuracy']:.2%}" in done.stdout
    assert [(run / "evaluation.json").read_bytes() for run in runs] == before


def test_a_run_with_other_test_images_or_classes_is_refused(runs, here):
    other = here / "other"
    other.mkdir()
    train(digits_config(data="kmnist_7k", trainer__max_epochs=1), other)
    with pytest.raises(ConfigError, match=r"other: its classes are not those of .*capsules"):
        evaluate_ensemble([runs[0], other], {})
    assert not (here / "outputs").exists()


def test_scores_that_may_be_negative_are_refused(runs, here, monkeypatch):
    monkeypatch.setattr(CrossEntropyLoss, "logits", False)
    with pytest.raises(ConfigError, match="logits: its scores are neither probabilities nor lengths"):
        evaluate_ensemble(runs, {})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run=[a]"], "run=[a]: give two runs or more"),
        (["run=[a,./a]"], "is there twice"),
        (["run=[a,b]"], "run=a: there is no such folder"),
        (["run=[a,b]", "robustness=true"], "robustness=true: is measured of one run"),
        (["run=[a,b]", "figures=false"], "figures=false: several runs together have no figures"),
        (["run=a", "shifts=-1"], "shifts=-1: must be a number of pixels, at most 8"),
        (["run=a", "shifts=9"], "shifts=9: must be"),
    ],
)
def test_a_mistake_ends_in_one_line(tmp_path, arguments, named):
    done = run_in_process("evaluate.py", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
