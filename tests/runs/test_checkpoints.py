"""Claims about reading checkpoints, also damaged and hostile ones."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from capsnet import CapsNet
from capsnet.errors import CheckpointError, ConfigError
from capsnet.runs.checkpoints import build_network, check_weights, load_checkpoint, read_checkpoint


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


def rewritten(path, change):
    """Change the content of a checkpoint."""
    content = torch.load(path, weights_only=True)
    change(content)
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
        (lambda weights: weights.update({"conv.bias": torch.zeros(3)}), r"conv.bias is \[3\] instead of \[16\]"),
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
    with pytest.raises(CheckpointError, match=r"contains more than tensors .* could run code|cannot be read"):
        read_checkpoint(tmp_path / "best.ckpt")
    assert not witness.exists()


def test_a_truncated_one_is_refused_by_name(best):
    best.write_bytes(best.read_bytes()[:-1000])
    assert "cannot be read" in refusal(best)


def test_a_flipped_bit_in_the_weights_is_noticed(best):
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 1
    best.write_bytes(content)
    assert "the checksum of" in refusal(best)


def test_one_of_the_last_version_with_a_digest_of_its_content_is_read(best):
    rewritten(best, lambda content: content.update(capsnet_digest="ab" * 32))
    assert load_checkpoint(best).config.routing.iters == 2


def test_a_missing_one_is_refused_by_name(tmp_path):
    for path in (tmp_path / "best.ckpt", tmp_path):
        assert "there is no such checkpoint" in refusal(path)


@pytest.mark.parametrize("content", [CapsNet(conv_channels=4).state_dict(), [1, 2]])
def test_anything_without_a_config_is_not_a_checkpoint_of_this_project(tmp_path, content):
    torch.save(content, tmp_path / "best.ckpt")
    assert "not a checkpoint of this project" in refusal(tmp_path / "best.ckpt")


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
