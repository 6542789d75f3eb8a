"""Beginning with the weights of another run, `init=RUN_OR_MODEL`, and keeping the first part, `freeze=true`."""

import hashlib
import logging
from collections.abc import Sequence

import torch
from torch import nn

from ..data.dataset import recorded_training_images
from ..errors import ConfigError
from ..settings.config import Config
from ..text import counted
from .checkpoints import build_network, load_checkpoint
from .shipped import find_run
from .trained import checkpoint_path

log = logging.getLogger(__name__)


def begin_with(
    network: nn.Module, config: Config, image_shape: tuple[int, int, int], class_names: Sequence[str]
) -> dict[str, str]:
    """Copy into a network the weights of `config.init` that have the same name and shape.

    The class layer stays new unless both have the same classes.

    Args:
        network: new.
        config: of the run.
        image_shape: that the network was built for.
        class_names: of its classes.

    Returns:
        For the record: the checkpoint's path and sha256.

    Raises:
        CheckpointError: there is no such run, or its checkpoint cannot be read.
        ConfigError: no weight fits.
    """
    assert config.init is not None
    path = checkpoint_path(find_run(config.init))
    checkpoint = load_checkpoint(path)
    images, own = recorded_training_images(checkpoint.dataset), network.state_dict()
    fits = {
        name: weight
        for name, weight in checkpoint.weights.items()
        if name in own and weight.shape == own[name].shape and torch.isfinite(weight).all()
    }
    if images is None or images.class_names != tuple(class_names):
        fits = {name: fits[name] for name in fits.keys() - class_layer(config, image_shape, len(class_names))}
    if not fits:
        raise ConfigError(f"init={config.init}: no weight fits this network; choose the model that it was trained with")
    network.load_state_dict({**own, **fits})
    new = [name for name in own if name not in fits]
    log.info(
        "Begins with %s of %s%s",
        counted(len(fits), "weight"),
        config.init,
        f"; new: {', '.join(new)}" if new else "",
    )
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def class_layer(config: Config, image_shape: tuple[int, int, int], num_classes: int) -> set[str]:
    """The names of the weights whose number depends on the number of classes."""
    with torch.random.fork_rng(devices=[]):
        one, other = (
            build_network(config, image_shape, count).state_dict() for count in (num_classes, num_classes + 1)
        )
    return {name for name in one if one[name].shape != other[name].shape}


def freeze(network: nn.Module, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> list[nn.Module]:
    """Keep the weights of what comes before the class layer as they are.

    Returns:
        The parts that have no weights to train. They are to be left in evaluation mode, so that the statistics of their
        normalizations stay, too.
    """
    last = class_layer(config, image_shape, num_classes)
    for name, weight in network.named_parameters():
        if name in last:
            break
        weight.requires_grad = False
    own = {part: list(part.parameters(recurse=False)) for part in network.modules()}
    return [part for part, weights in own.items() if weights and not any(weight.requires_grad for weight in weights)]
