"""Checkpoints: weights with the config they were trained by, read without running any code they may carry."""

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .compose import config_from_dict
from .config import Config
from .errors import CheckpointError, on_one_line
from .model import CapsNet

NETWORK_PREFIX = "network."  # where the Lightning module keeps the CapsNet
CONFIG_KEY = "capsnet_config"
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError),
    *(IndexError, AttributeError, NotImplementedError, AssertionError),
)
"""What zipfile and torch raise on damaged files, beside their own errors."""


def build_network(config: Config, image_shape: tuple[int, int, int], num_classes: int) -> CapsNet:
    """The CapsNet that a config describes. Raises ValueError where the images are too small for it."""
    return CapsNet(
        image_shape, num_classes, **vars(config.model), routing=config.routing.name, routing_iters=config.routing.iters
    )


def load_checkpoint(path: Path, overrides: dict[str, Any] | None = None) -> tuple[Config, dict[str, Tensor], int]:
    """Config, network weights and the epoch (counted from 1) of a checkpoint.

    Args:
        path: a file written by training.
        overrides: settings by dotted key that replace those in the checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, carries code, or is no checkpoint of this project.
        ConfigError: the config in it, or an override, is not valid.
    """
    content = read_checkpoint(path)
    saved, weights, epoch = content.get(CONFIG_KEY), content.get("state_dict"), content.get("epoch")
    is_ours = isinstance(saved, dict) and isinstance(weights, dict) and isinstance(epoch, int)
    if not is_ours or not all(isinstance(key, str) for key in weights):
        raise CheckpointError(f"{path}: not a checkpoint of this project (it holds no config beside its weights)")
    own = {key.removeprefix(NETWORK_PREFIX): value for key, value in weights.items() if key.startswith(NETWORK_PREFIX)}
    return config_from_dict(saved, overrides, origin=str(path)), own, epoch + 1


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint file's content; nothing in it is executed. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
                if (damaged := archive.testzip()) is not None:
                    raise CheckpointError(f"{path}: damaged (checksum of {damaged})")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: it holds more than tensors and plain values, so that loading it could run code,"
            " or it is damaged"
        ) from error
    except DAMAGE as error:
        raise CheckpointError(f"{path}: damaged or not a checkpoint ({on_one_line(error)[:200]})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of this project")
    return content
