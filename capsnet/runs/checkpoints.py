"""Checkpoints: weights with the config they were trained with, read without running any code they may contain."""

import hashlib
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..networks.fourier import offer_fourier
from ..networks.layout import channels_last
from ..settings.config import Config
from ..settings.parse import config_from_dict
from ..text import on_one_line

NETWORK_PREFIX = "network."  # where the Lightning module keeps the network
CONFIG_KEY = "capsnet_config"
PLUGIN_KEY = "capsnet_plugin"
DATASET_KEY = "capsnet_dataset"
DIGEST_KEY = "capsnet_digest"
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError),
    *(IndexError, AttributeError, NotImplementedError, AssertionError, RecursionError),
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
    dataset: dict[str, Any]
    """What it was trained on, see `Dataset.record`."""


def build_network(config: Config, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """The network that a config describes, with fast convolutions. Raises ValueError if the images do not suit it."""
    network = config.model.build(image_shape, num_classes, config.routing)
    offer_fourier(network)
    return channels_last(network)


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
        raise CheckpointError(f"{path}: not a checkpoint of this project (it contains no config)")
    if DIGEST_KEY not in content:
        raise CheckpointError(f"{path}: has no digest of its content, so it is not from this version of the project")
    plugin, dataset = content.get(PLUGIN_KEY), content.get(DATASET_KEY)
    return Checkpoint(
        config_from_dict(saved, overrides, origin=str(path)),
        network_weights(content, path),
        epoch + 1,
        plugin.get("sha256") if isinstance(plugin, dict) else None,
        dataset if isinstance(dataset, dict) else {},
    )


def network_weights(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The network's weights in a checkpoint's content, by name. Raises CheckpointError."""
    weights = content.get("state_dict")
    if not isinstance(weights, dict) or not all(isinstance(key, str) for key in weights):
        raise CheckpointError(f"{path}: not a checkpoint of this project (it has no weights)")
    return {key.removeprefix(NETWORK_PREFIX): value for key, value in weights.items() if key.startswith(NETWORK_PREFIX)}


def check_weights(weights: dict[str, Tensor], network: nn.Module, path: Path) -> None:
    """Check that weights are those of a network, and are numbers.

    Raises:
        CheckpointError: names, shapes or types differ from the network's, or a weight is NaN or infinite.
    """
    own = network.state_dict()
    for name in {*own, *weights}:
        if name not in own or name not in weights or not isinstance(weights[name], Tensor):
            raise CheckpointError(f"{path}: its weights do not fit the network: {name}")
        saved, wanted = weights[name], own[name]
        if saved.shape != wanted.shape:
            shapes = f"{list(saved.shape)} instead of {list(wanted.shape)}"
            raise CheckpointError(f"{path}: its weights do not fit the network: {name} is {shapes}")
        if saved.is_floating_point() != wanted.is_floating_point() or saved.is_complex() != wanted.is_complex():
            raise CheckpointError(f"{path}: its weights do not fit the network: {name} has the type {saved.dtype}")
        if not torch.isfinite(saved).all():
            raise CheckpointError(f"{path}: its weights are NaN or infinite ({name})")


def content_digest(content: dict[str, Any]) -> str:
    """A digest of everything in a checkpoint but the digest itself: structure, types, values and tensors."""
    found = hashlib.sha256()
    _add_to_digest(found, {key: value for key, value in content.items() if key != DIGEST_KEY})
    return found.hexdigest()


def _add_to_digest(found: Any, value: Any) -> None:
    if isinstance(value, dict):
        found.update(b"{%d" % len(value))
        for key, entry in value.items():
            _add_to_digest(found, key)
            _add_to_digest(found, entry)
    elif isinstance(value, list | tuple):
        found.update(f"{type(value).__name__}[{len(value)}".encode())
        for entry in value:
            _add_to_digest(found, entry)
    elif isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        found.update(f"{value.dtype}{list(value.shape)}{zlib.crc32(data)}".encode())
    else:
        found.update(f"{type(value).__name__}:{value!r};".encode(errors="surrogatepass"))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint file's content, as it was saved. Nothing in it is executed.

    Raises:
        CheckpointError: the file is missing or damaged, contains code, or was changed after it was saved.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch does not verify the checksums
                if (damaged := archive.testzip()) is not None:
                    raise CheckpointError(f"{path}: damaged (checksum of {damaged})")
        content = torch.load(path, map_location="cpu", weights_only=True)
        digest = content_digest(content) if isinstance(content, dict) else None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: it contains more than tensors and plain values, so loading it could run code"
            " (or it is damaged)"
        ) from error
    except DAMAGE as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({on_one_line(error)[:200]})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of this project")
    if DIGEST_KEY in content and content[DIGEST_KEY] != digest:
        raise CheckpointError(f"{path}: was changed after it was saved (its content does not match its digest)")
    return content
