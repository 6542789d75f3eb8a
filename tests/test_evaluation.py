"""Claims about scores and about opening checkpoints, also hostile ones."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from capsnet import CapsNet, margin_loss
from capsnet.config import LossConfig
from capsnet.data import Batches
from capsnet.errors import CheckpointError, ConfigError
from capsnet.evaluation import evaluate_checkpoint, find_checkpoint, score
from capsnet.results import write_json
from capsnet.sources import Labelled


@pytest.fixture
def run(finished_run, tmp_path) -> Path:
    """A copy of the finished run that a test may damage."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def evaluate(run, **overrides):
    return evaluate_checkpoint(*find_checkpoint(str(run), None), overrides)


def test_scores_are_those_of_a_loop_over_single_images():
    network = CapsNet(conv_channels=8, primary_capsules=2).eval()
    split = Labelled(torch.randint(0, 256, (23, 1, 28, 28), dtype=torch.uint8), torch.randint(0, 10, (23,)))
    scores = score(network, Batches(split, 5), LossConfig())
    right, loss, confusion = 0, 0.0, torch.zeros(10, 10, dtype=torch.int64)
    with torch.no_grad():
        for image, label in zip(*split, strict=True):
            image = image.unsqueeze(0) / 255
            output = network(image)
            seen = int(output.lengths.argmax())
            right += seen == label
            confusion[label, seen] += 1
            error = ((output.reconstruction - image) ** 2).mean()
            loss += float(margin_loss(output.lengths, label.view(1)) + 0.392 * error)
    assert scores.accuracy == pytest.approx(float(right) / 23)
    assert scores.loss == pytest.approx(loss / 23, rel=1e-5)
    assert torch.equal(scores.confusion, confusion)


def test_evaluation_agrees_with_the_test_at_the_end_of_training(run):
    trained = json.loads((run / "results.json").read_text())
    report = evaluate(run)
    assert report["accuracy"] == trained["test_accuracy"]
    assert report["loss"] == pytest.approx(trained["test_loss"], rel=1e-6)
    assert report["epoch"] == trained["best_epoch"]
    assert sum(map(sum, report["confusion"])) == trained["dataset"]["test"]


def test_values_of_the_runs_config_can_be_replaced(run):
    assert evaluate(run, **{"routing.iters": "1"})["config"]["routing"]["iters"] == 1
    with pytest.raises(ConfigError, match=r"did you mean routing\.iters"):
        evaluate(run, **{"routing.iter": "1"})


def test_one_checkpoint_file_can_be_picked(run):
    checkpoint, folder = find_checkpoint(None, str(run / "checkpoints/last.ckpt"))
    assert folder == run
    assert evaluate_checkpoint(checkpoint, folder)["epoch"] == 3


def test_a_checkpoint_moved_elsewhere_still_knows_its_config(run, tmp_path):
    moved = tmp_path / "elsewhere" / "model.ckpt"
    moved.parent.mkdir()
    shutil.copy(run / "checkpoints/best.ckpt", moved)
    report = evaluate_checkpoint(*find_checkpoint(None, str(moved)))
    assert report["config"]["routing"]["iters"] == 2
    assert (moved.parent / "figures/confusion.png").exists()


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("save", [torch.save, lambda content, path: Path(path).write_bytes(pickle.dumps(content))])
def test_a_checkpoint_that_carries_code_is_refused_and_nothing_runs(run, tmp_path, save):
    witness = tmp_path / "witness"
    save({"state_dict": {}, "extra": Payload(witness)}, run / "checkpoints/best.ckpt")
    with pytest.raises(CheckpointError, match=r"refused: .* could run code"):
        evaluate(run)
    assert not witness.exists()


@pytest.mark.parametrize("size", [0, 10, 1000, -1000])
def test_a_truncated_checkpoint_is_refused_by_name(run, size):
    path = run / "checkpoints/best.ckpt"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"best\.ckpt"):
        evaluate(run)


def test_a_missing_checkpoint_or_run_is_refused_by_name(run, tmp_path):
    (run / "checkpoints/best.ckpt").unlink()
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        evaluate(run)
    with pytest.raises(CheckpointError, match="there is no such folder"):
        evaluate(tmp_path / "nowhere")


def test_weights_alone_are_not_a_checkpoint_of_this_project(run):
    torch.save(CapsNet().state_dict(), run / "checkpoints/best.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this project"):
        evaluate(run)


def test_weights_of_another_architecture_are_refused_in_one_line(run):
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        evaluate(run, **{"model.class_dim": "4"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "figures", "metrics.csv", "evaluation.json"])
def test_a_link_out_of_the_runs_folder_is_refused(run, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    if (run / name).exists():
        shutil.move(run / name, elsewhere)
    else:
        elsewhere.mkdir()
    (run / name).symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir()) if elsewhere.is_dir() else elsewhere.read_bytes()
    with pytest.raises(CheckpointError, match=f"{name}: refused, a symbolic link"):
        evaluate(run)
    assert before == (sorted(elsewhere.iterdir()) if elsewhere.is_dir() else elsewhere.read_bytes())


def test_a_link_in_place_of_a_draft_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / f"report.json.{os.getpid()}.part").symlink_to(tmp_path / "mine")
    write_json(tmp_path / "report.json", {"accuracy": 1})
    assert (tmp_path / "mine").read_text() == "precious"
    assert json.loads((tmp_path / "report.json").read_text()) == {"accuracy": 1}


def rewritten(run, change):
    """Change the content of a run's best checkpoint."""
    path = run / "checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def test_a_checkpoint_of_an_older_version_without_a_newer_setting_takes_its_default(run):
    rewritten(run, lambda content: content["capsnet_config"]["model"].pop("dropout"))
    assert evaluate(run)["config"]["model"]["dropout"] == 0


def test_a_checkpoint_with_a_setting_that_there_is_no_more_is_refused_by_its_name(run):
    rewritten(run, lambda content: content["capsnet_config"]["model"].update(reconstruct_from="mask"))
    with pytest.raises(ConfigError, match=r"best\.ckpt: its config is not one of this version .*reconstruct_from"):
        evaluate(run)


def test_a_config_that_names_something_to_call_is_refused_and_nothing_is_called(run, tmp_path):
    target = {"_target_": "pathlib.Path.touch", "self": str(tmp_path / "witness")}
    rewritten(run, lambda content: content["capsnet_config"]["routing"].update(target))
    with pytest.raises(ConfigError, match="_target_"):
        evaluate(run)
    assert not (tmp_path / "witness").exists()


def test_a_flipped_bit_in_the_weights_is_noticed(run):
    path = run / "checkpoints/best.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: damaged \(checksum"):
        evaluate(run)


def test_a_damaged_metrics_file_is_refused_by_name(run):
    (run / "metrics.csv").write_text("epoch,train/loss\nx,y\n")
    with pytest.raises(CheckpointError, match=r"metrics\.csv"):
        evaluate(run)
