"""Beginning with the weights of another run, `init=RUN_OR_MODEL`, and keeping the first part, `freeze=true`."""

import logging
from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data.dataset import recorded_training_images
from ..errors import ConfigError
from ..files import file_digest
from ..networks.normalization import AS_THEY_ARE
from ..routing.transformation import TransformationMatrices
from ..settings.config import Config, name_of
from ..text import counted
from .checkpoints import build_network, load_checkpoint
from .folder import checkpoint_path
from .shipped import find_run

log = logging.getLogger(__name__)

NEW_CLASSES = 0.25
"""Scale of a new class layer. Trained capsules have much in common over all images, so that at the usual scale the same
class wins the routing for all of them, and its length is where squash passes on no gradient (measured in
docs/library.md)."""


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
        ConfigError: less than half of the weights fit.
    """
    assert config.init is not None
    path = checkpoint_path(find_run(config.init)).absolute()
    checkpoint = load_checkpoint(path)
    images, own = recorded_training_images(checkpoint.dataset), network.state_dict()
    fits = {
        name: weight
        for name, weight in checkpoint.weights.items()
        if name in own and weight.shape == own[name].shape and torch.isfinite(weight).all()
    }
    if images is None or images.class_names != tuple(class_names):
        fits = {name: fits[name] for name in fits.keys() - class_layer(network, config, image_shape, len(class_names))}
    if 2 * len(fits) < len(own):
        model, few = _model_of(checkpoint.config), f"only {counted(len(fits), 'weight')} of {len(own)} fit"
        raise ConfigError(f"init={config.init}: {few}; it was trained with {model}")
    for name in own.keys() - checkpoint.weights.keys():  # it has seen images as they are
        if (value := AS_THEY_ARE.get(name.rpartition(".")[2])) is not None:
            own[name] = torch.full_like(own[name], value)
    routing = getattr(network, "routing", None)
    if isinstance(routing, TransformationMatrices) and "routing.weight" not in fits:
        own["routing.weight"] = NEW_CLASSES * routing.weight
    network.load_state_dict({**own, **fits})
    new = [name for name in own if name not in fits]
    log.info(
        "Begins with %s of %s%s",
        counted(len(fits), "weight"),
        config.init,
        f"; new: {', '.join(new)}" if new else "",
    )
    return {"path": str(path), "sha256": file_digest(path)}


def _model_of(config: Config) -> str:
    """The overrides that choose the network of a config."""
    values = {field.name: (getattr(config.model, field.name), field.default) for field in fields(config.model)}
    changed = [f"model.{key}={value}" for key, (value, default) in values.items() if value != default]
    return " ".join([f"model={name_of('model', config.model)}", *changed])


def class_layer(network: nn.Module, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> set[str]:
    """The names of a network's weights whose number depends on the number of classes."""
    with torch.random.fork_rng(devices=[]):
        other = build_network(config, image_shape, num_classes + 1).state_dict()
    return {name for name, weight in network.state_dict().items() if weight.shape != other[name].shape}


def freeze(network: nn.Module, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> list[nn.Module]:
    """Keep the weights of what comes before the class layer as they are.

    Returns:
        The parts that come before it. They are to be left in evaluation mode, so that the statistics of their
        normalizations stay, too.
    """
    last, parts = class_layer(network, config, image_shape, num_classes), []
    for name, part in network.named_modules():
        weights = dict(part.named_parameters(name, recurse=False))
        if last & weights.keys():
            break
        for weight in weights.values():
            weight.requires_grad = False
        if weights or isinstance(part, _BatchNorm):
            parts.append(part)
    return parts
