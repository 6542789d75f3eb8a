"""Claims about reading checkpoints, also damaged and hostile ones."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from capsnet import CapsNet
from capsnet.errors import CheckpointError, ConfigError
from capsnet.runs.checkpoints import (
    DIGEST_KEY,
    build_network,
    check_weights,
    content_digest,
    load_checkpoint,
    read_checkpoint,
)


@pytest.fixture
def best(finished_run, tmp_path) -> Path:
    """A copy of the finished run's best checkpoint that a test may damage."""
    return Path(shutil.copy(finished_run / "checkpoints/best.ckpt", tmp_path))


def refusal(path: Path) -> str:
    """The one line that refuses a checkpoint."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


def rewritten(path, change, digest=True):
    """Change the content of a checkpoint, and its digest unless told otherwise."""
    content = torch.load(path, weights_only=True)
    change(content)
    if digest:
        content[DIGEST_KEY] = content_digest(content)
    torch.save(content, path)


def test_it_holds_config_and_weights_of_one_network(best):
    checkpoint = load_checkpoint(best)
    assert (checkpoint.config.routing.iters, checkpoint.config.model.conv_channels) == (2, 16)
    assert 1 <= checkpoint.epoch <= 3
    assert checkpoint.plugin_sha256 is None
    build_network(checkpoint.config, (1, 28, 28), 10).load_state_dict(checkpoint.weights)


def test_the_last_checkpoint_is_of_the_last_epoch(finished_run):
    assert load_checkpoint(finished_run / "checkpoints/last.ckpt").epoch == 3


def test_settings_can_be_replaced(best):
    assert load_checkpoint(best, {"routing.iters": "1"}).config.routing.iters == 1
    with pytest.raises(ConfigError, match=r"did you mean routing\.iters"):
        load_checkpoint(best, {"routing.iter": "1"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("conv.bias"), "do not fit the network: conv.bias"),
        (lambda weights: weights.update(more=torch.zeros(1)), "do not fit the network: more"),
        (lambda weights: weights.update({"conv.bias": 3}), "do not fit the network: conv.bias"),
        (lambda weights: weights.update({"conv.bias": torch.zeros(3)}), r"conv.bias is \[3\] instead of \[16\]"),
        (lambda weights: weights.update({"conv.bias": torch.zeros(16, dtype=torch.int64)}), "has the type torch.int64"),
        (lambda weights: weights["conv.bias"][3].fill_(torch.inf), r"are NaN or infinite \(conv.bias\)"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_refused_by_file_and_name(best, change, message):
    checkpoint = load_checkpoint(best)
    network = build_network(checkpoint.config, (1, 28, 28), 10)
    check_weights(checkpoint.weights, network, best)
    change(checkpoint.weights)
    with pytest.raises(CheckpointError, match=rf"best\.ckpt: its weights .*{message}"):
        check_weights(checkpoint.weights, network, best)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: Path(path).write_bytes(pickle.dumps(content, protocol=2))]
)
def test_one_that_contains_code_is_refused_and_nothing_runs(tmp_path, save):
    witness = tmp_path / "witness"
    save({"state_dict": {}, "extra": Payload(witness)}, tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"refused: it contains more than tensors .* could run code"):
        read_checkpoint(tmp_path / "best.ckpt")
    assert not witness.exists()


@pytest.mark.parametrize("size", [0, 10, 1000, -1000])
def test_a_truncated_one_is_refused_by_name(best, size):
    best.write_bytes(best.read_bytes()[:size])
    refusal(best)


def test_a_flipped_bit_in_the_weights_is_noticed(best):
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 1
    best.write_bytes(content)
    assert "damaged (checksum" in refusal(best)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["state_dict"]["network.conv.bias"].add_(1e-3),
        lambda content: content["state_dict"].update({"network.conv.bias": torch.zeros(16, dtype=torch.float64)}),
        lambda content: content["capsnet_config"]["routing"].update(iters=3),
        lambda content: content["capsnet_config"]["routing"].update(iters="2"),
        lambda content: content["capsnet_config"].pop("seed"),
        lambda content: content.update(epoch=7),
        lambda content: content.update(more=None),
    ],
)
def test_one_that_was_changed_after_it_was_saved_is_refused(best, change):
    rewritten(best, change, digest=False)
    assert "was changed after it was saved" in refusal(best)


def test_one_saved_again_unchanged_is_accepted(best):
    before = load_checkpoint(best)
    rewritten(best, lambda content: None, digest=False)
    assert load_checkpoint(best).config == before.config


def test_one_without_a_digest_is_refused(best):
    rewritten(best, lambda content: content.pop(DIGEST_KEY), digest=False)
    assert "has no digest of its content" in refusal(best)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize("odd", [torch.eye(3).to_sparse(), torch.zeros(2, device="meta")])
def test_one_with_a_tensor_of_an_odd_kind_is_refused(best, odd):
    rewritten(best, lambda content: content.update(more=odd), digest=False)
    refusal(best)


def test_a_missing_one_is_refused_by_name(tmp_path):
    for path in (tmp_path / "best.ckpt", tmp_path):
        assert "there is no such checkpoint" in refusal(path)


@pytest.mark.parametrize("content", [CapsNet(conv_channels=4).state_dict(), [1, 2], {"epoch": 3}, torch.zeros(3)])
def test_anything_without_a_config_is_not_a_checkpoint_of_this_project(tmp_path, content):
    torch.save(content, tmp_path / "best.ckpt")
    assert "not a checkpoint of this project" in refusal(tmp_path / "best.ckpt")


@pytest.mark.parametrize("key", ["capsnet_config", "state_dict", "epoch"])
def test_one_with_a_part_missing_or_of_another_type_is_not_a_checkpoint_of_this_project(best, key):
    whole = best.read_bytes()
    for change in (lambda content: content.pop(key), lambda content: content.update({key: "x"})):
        best.write_bytes(whole)
        rewritten(best, change)
        assert "not a checkpoint of this project" in refusal(best)


def test_one_of_an_older_version_without_a_newer_setting_takes_its_default(best):
    rewritten(best, lambda content: content["capsnet_config"]["model"].pop("dropout"))
    assert load_checkpoint(best).config.model.dropout == 0


def test_one_with_a_setting_that_no_longer_exists_is_refused_by_its_name(best):
    rewritten(best, lambda content: content["capsnet_config"]["model"].update(reconstruct_from="mask"))
    with pytest.raises(ConfigError, match=r"best\.ckpt: its config does not fit this version: .*reconstruct_from"):
        load_checkpoint(best)


def test_a_config_that_names_something_to_call_is_refused_and_nothing_is_called(best, tmp_path):
    target = {"_target_": "pathlib.Path.touch", "self": str(tmp_path / "witness")}
    rewritten(best, lambda content: content["capsnet_config"]["routing"].update(target))
    with pytest.raises(ConfigError, match="_target_"):
        load_checkpoint(best)
    assert not (tmp_path / "witness").exists()


def test_an_option_of_a_plugin_is_refused_with_the_plugin_to_add(best):
    def with_plugin(content):
        content["capsnet_config"] |= {"plugin": "/elsewhere/mine.py", "model": {"name": "tiny"}}
        content["capsnet_plugin"] = {"path": "/elsewhere/mine.py", "sha256": "ab" * 32}

    rewritten(best, with_plugin)
    with pytest.raises(ConfigError, match=r"best\.ckpt: add plugin=/elsewhere/mine\.py, which defines model=tiny"):
        load_checkpoint(best)
    rewritten(best, lambda content: content["capsnet_config"].update(model={"name": "capsnet"}))
    assert load_checkpoint(best).plugin_sha256 == "ab" * 32
