"""Checkpoints: weights with the config they were trained with, read without running any code they may contain."""

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..settings.config import Config
from ..settings.parse import config_from_dict
from ..text import on_one_line

NETWORK_PREFIX = "network."  # where the Lightning module keeps the network
CONFIG_KEY = "capsnet_config"
PLUGIN_KEY = "capsnet_plugin"
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError),
    *(IndexError, AttributeError, NotImplementedError, AssertionError),
)
"""What zipfile and torch raise for damaged files, beside their own errors."""


class Checkpoint(NamedTuple):
    """What a checkpoint says about a trained network."""

    config: Config
    weights: dict[str, Tensor]
    """Of the network, by name."""
    epoch: int
    """Counted from 1."""
    plugin_sha256: str | None
    """Digest of the plugin that the run was trained with."""


def build_network(config: Config, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The network that a config describes. Raises ValueError if the images do not suit it."""
    return config.model.build(image_shape, num_classes, config.routing)


def load_checkpoint(path: Path, overrides: dict[str, str | None] | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: a file written by training.
        overrides: settings by dotted key that replace those in the checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, contains code, or is not a checkpoint of this project.
        ConfigError: the config in it, or an override, is not valid.
    """
    content = read_checkpoint(path)
    saved, weights, epoch = content.get(CONFIG_KEY), content.get("state_dict"), content.get("epoch")
    is_ours = isinstance(saved, dict) and isinstance(weights, dict) and isinstance(epoch, int)
    if not is_ours or not all(isinstance(key, str) for key in weights):
        raise CheckpointError(f"{path}: not a checkpoint of this project (it has no config beside its weights)")
    own = {key.removeprefix(NETWORK_PREFIX): value for key, value in weights.items() if key.startswith(NETWORK_PREFIX)}
    plugin = content.get(PLUGIN_KEY)
    sha256 = plugin.get("sha256") if isinstance(plugin, dict) else None
    return Checkpoint(config_from_dict(saved, overrides, origin=str(path)), own, epoch + 1, sha256)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint file's content. Nothing in it is executed. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch does not verify the checksums
                if (damaged := archive.testzip()) is not None:
                    raise CheckpointError(f"{path}: damaged (checksum of {damaged})")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused, because it contains more than tensors and plain values, so loading it could run code;"
            " or it is damaged"
        ) from error
    except DAMAGE as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({on_one_line(error)[:200]})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of this project")
    return content
