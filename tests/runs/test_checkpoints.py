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


def rewritten(path, change):
    """Change the content of a checkpoint."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def test_it_holds_config_and_weights_of_one_network(best, finished_run):
    checkpoint = load_checkpoint(best)
    assert (checkpoint.config.routing.iters, checkpoint.config.model.conv_channels) == (2, 16)
    assert 1 <= checkpoint.epoch <= 3
    assert checkpoint.plugin_sha256 is None
    build_network(checkpoint.config, (1, 28, 28), 10).load_state_dict(checkpoint.weights)
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


def truncated(path):
    path.write_bytes(path.read_bytes()[:-1000])


def bit_flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "cannot be read"),
        (bit_flipped, "the checksum of"),
        (Path.unlink, "there is no such checkpoint"),
        (lambda path: torch.save([1, 2], path), "not a checkpoint of this project"),
        (lambda path: torch.save(CapsNet(conv_channels=4).state_dict(), path), "not a checkpoint of this project"),
    ],
)
def test_what_is_no_whole_checkpoint_of_this_project_is_refused_in_one_line_by_name(best, damage, message):
    damage(best)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(best)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{best}: ")
    assert message in str(caught.value)


def test_one_of_an_older_version_is_read_and_a_setting_that_no_longer_exists_is_named(best):
    rewritten(best, lambda content: content["capsnet_config"]["model"].pop("dropout"))
    rewritten(best, lambda content: content.update(capsnet_digest="ab" * 32))  # which the last version checked
    assert load_checkpoint(best).config.model.dropout == 0
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
