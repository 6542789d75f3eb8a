"""Checkpoints: weights with the config they were trained with, read without running any code they may contain."""

import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError
from ..networks.fourier import offer_fourier
from ..networks.layout import channels_last
from ..networks.normalization import offer_normalization
from ..settings.config import Config, name_of
from ..settings.parse import config_from_dict
from ..text import on_one_line

NETWORK_PREFIX = "network."  # where the Lightning module keeps the network
CONFIG_KEY = "capsnet_config"
PLUGIN_KEY = "capsnet_plugin"
DATASET_KEY = "capsnet_dataset"


class Checkpoint(NamedTuple):
    """What a checkpoint says about a trained network."""

    config: Config
    weights: dict[str, Tensor]
    """Of the network, by name."""
    epoch: int
    """Counted from 1."""
    plugin_sha256: str | None
    """Digest of the plugin that the run was trained with."""
    dataset: dict[str, Any]
    """What it was trained on, see `Dataset.record`."""


def build_network(config: Config, single_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The network that a config describes, with fast convolutions.

    Args:
        config: of the run.
        single_shape: (channels, height, width) of the dataset's images; the task says what the network sees of them.
        num_classes: number of classes.

    Raises:
        ValueError: the images do not suit the network.
        ConfigError: what the option builds is no network.
    """
    image_shape = config.task.build().image_shape(single_shape)
    network = config.model.build(image_shape, num_classes, config.routing)
    if not isinstance(network, nn.Module):
        name = name_of("model", config.model)
        raise ConfigError(f"model={name}: build must return a torch.nn.Module, got {type(network).__name__}")
    offer_fourier(network)
    if config.data.normalize:
        offer_normalization(network, image_shape[0])
    return channels_last(network)


def load_checkpoint(path: Path, overrides: dict[str, str | None] | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a file written by training.
        overrides: settings by dotted key that replace those in the checkpoint.

    Raises:
        CheckpointError: the file cannot be read, or is not a checkpoint of this project.
        ConfigError: the config in it, or an override, is not valid.
    """
    content = read_checkpoint(path)
    if not {CONFIG_KEY, "state_dict", "epoch"} <= content.keys():
        raise CheckpointError(f"{path}: not a checkpoint of this project (it contains no config)")
    return Checkpoint(
        config_from_dict(content[CONFIG_KEY], overrides, origin=str(path)),
        network_weights(content),
        content["epoch"] + 1,
        content.get(PLUGIN_KEY, {}).get("sha256"),
        content.get(DATASET_KEY, {}),
    )


def network_weights(content: dict[str, Any]) -> dict[str, Tensor]:
    """The network's weights in a checkpoint's content, by name."""
    weights = content["state_dict"]
    return {key.removeprefix(NETWORK_PREFIX): value for key, value in weights.items() if key.startswith(NETWORK_PREFIX)}


def restored_network(
    checkpoint: Checkpoint, single_shape: tuple[int, int, int], num_classes: int, path: Path
) -> nn.Module:
    """The network of a checkpoint that was read from a path, on the GPU if there is one. Raises CheckpointError."""
    try:
        network = build_network(checkpoint.config, single_shape, num_classes)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: its network cannot be built ({on_one_line(error)[:200]})") from error
    check_weights(checkpoint.weights, network, path)
    network.load_state_dict(checkpoint.weights)
    return network.to("cuda" if torch.cuda.is_available() else "cpu")


def check_weights(weights: dict[str, Tensor], network: nn.Module, path: Path) -> None:
    """Check that weights are those of a network, and are numbers.

    Raises:
        CheckpointError: names or shapes differ from the network's, or a weight is NaN or infinite.
    """
    own = network.state_dict()
    if differing := own.keys() ^ weights.keys():
        raise CheckpointError(f"{path}: its weights do not fit the network: {min(differing)}")
    for name, saved in weights.items():
        if saved.shape != own[name].shape:
            shapes = f"{list(saved.shape)} instead of {list(own[name].shape)}"
            raise CheckpointError(f"{path}: its weights do not fit the network: {name} is {shapes}")
        if not torch.isfinite(saved).all():
            raise CheckpointError(f"{path}: its weights are NaN or infinite ({name})")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint file's content, as it was saved. Nothing in it is executed.

    Raises:
        CheckpointError: the file is missing or damaged, or contains more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not verify the checksums
            damaged = archive.testzip()
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = on_one_line(error)[:200]
        if isinstance(error, pickle.UnpicklingError):  # torch's own message says how to load it all the same
            reason = "it contains more than tensors and plain values, so loading it could run code"
        raise CheckpointError(f"{path}: cannot be read ({reason})") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: cannot be read (the checksum of {damaged} is wrong)")
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of this project")
    return content
