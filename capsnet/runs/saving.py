"""A network that was trained in a loop of your own, as the folder of a run that all programs read."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..data.dataset import trained_elsewhere
from ..errors import ConfigError
from ..files import atomic_write, make_folder, remove_made_folder
from ..settings.composing import compose
from ..settings.config import as_dict, name_of
from .checkpoints import CONFIG_KEY, DATASET_KEY, NETWORK_PREFIX, PLUGIN_KEY, build_network
from .folder import BEST_CHECKPOINT, refuse_foreign_files
from .record import new_record, plugin_record

IMAGES, TOLERANCE = 4, 1e-4  # how many random images have to give the same scores, and how closely


def save(
    network: nn.Module,
    folder: str | Path,
    class_names: Sequence[str],
    *overrides: str,
    image_shape: tuple[int, int, int] | None = None,
) -> Path:
    """Save a network, so that `capsnet predict`, `explore`, `export` and `evaluate` take the folder for a run's.

    Args:
        network: of this project, or of a plugin that the overrides name, with its trained weights.
        folder: a new one, or one without a run.
        class_names: of the classes 0, 1, ...
        overrides: the settings that build such a network, such as "model=small_capsnet", "routing.iters=5", and those
            of the data that it can be evaluated on, such as "data=kmnist_7k".
        image_shape: (channels, height, width) of the dataset's images; None: those that the network sees.

    Returns:
        The folder.

    Raises:
        ConfigError: the settings build another network, or the folder has a run already.
    """
    folder, config = Path(folder), compose(*overrides)
    seen = getattr(network, "image_shape", (1, 28, 28))
    if image_shape is None and config.task.build().image_shape(seen) != seen:
        raise ConfigError("save: this task makes larger images; give image_shape=, that of the dataset's images")
    shape = image_shape or seen
    weights = {name: weight.detach().cpu() for name, weight in network.state_dict().items()}
    with torch.random.fork_rng(devices=[]):
        same = build_network(config, shape, len(class_names))
    own = {name: tuple(weight.shape) for name, weight in same.state_dict().items()}
    if own != {name: tuple(weight.shape) for name, weight in weights.items()}:
        raise ConfigError(
            f"save: model={name_of('model', config.model)} with these settings and"
            f' {len(class_names)} classes is another network; give those of this one, such as "model=small_capsnet"'
        )
    same.load_state_dict(weights)
    _refuse_other_outputs(network, same, config.task.build().image_shape(shape))
    refuse_foreign_files(folder)
    make_folder(folder / BEST_CHECKPOINT.parent)
    dataset = trained_elsewhere(shape, class_names)
    content = {
        CONFIG_KEY: as_dict(config),
        DATASET_KEY: dataset,
        "state_dict": {NETWORK_PREFIX + name: weight for name, weight in weights.items()},
        "epoch": 0,
    }
    if plugin := plugin_record():
        content[PLUGIN_KEY] = plugin
    try:
        with atomic_write(folder / BEST_CHECKPOINT) as draft:
            torch.save(content, draft)
    except BaseException:
        remove_made_folder(folder / BEST_CHECKPOINT.parent)
        raise
    parameters = sum(parameter.numel() for parameter in network.parameters())
    new_record("completed", list(overrides), dataset=dataset, parameters=parameters, config=as_dict(config)).write(
        folder
    )
    return folder


@torch.no_grad()
def _refuse_other_outputs(network: nn.Module, rebuilt: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Raise ConfigError if a network with the same weights says something else, as with other routing iterations."""
    images = torch.rand(IMAGES, *image_shape, generator=torch.Generator().manual_seed(0))
    training, device = network.training, next(network.parameters()).device
    network.eval()
    said = network(images.to(device)).scores.cpu()
    network.train(training)
    if not torch.allclose(said, rebuilt.eval()(images).scores, atol=TOLERANCE):
        raise ConfigError(
            "save: the network says something else than one that the settings build with the same weights; give the"
            ' settings that it was built with, such as "routing.iters=5"'
        )
