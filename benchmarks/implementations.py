"""The implementations of routing that the benchmarks compare, and a training step with each."""

from collections.abc import Callable
from pathlib import Path

import torch

from capsnet.settings.config import Config
from capsnet.settings.parse import config_from_dict
from capsnet.settings.plugins import load_plugin
from capsnet.training.module import ClassifierModule

ROUTINGS = {"uniform": "uniform", "ours": "dynamic", "einsum": "einsum", "broadcast": "broadcast"}
"""The implementations: name in the tables, and option of `routing`. The last two are in baselines.py."""

IMAGE_SHAPE = (1, 28, 28)


def config_with(implementation: str, compiled: bool = False) -> Config:
    """The default config with another routing.

    Args:
        implementation: one of ROUTINGS.
        compiled: use torch.compile.
    """
    load_plugin(Path(__file__).with_name("baselines.py"))
    return config_from_dict({"routing": {"name": ROUTINGS[implementation]}, "trainer": {"compile": compiled}})


def training_step(
    config: Config,
    batch_size: int,
    device: str,
    classes: int,
    precision: str = "fp32",
    channels_last: bool = False,
    image_shape: tuple[int, int, int] = IMAGE_SHAPE,
) -> Callable[[], None]:
    """A function that trains for one step on random images, as Lightning would: forward, backward, Adam, metrics.

    Args:
        config: of the network and its training.
        batch_size: images in the step.
        device: "cpu" or "cuda".
        classes: number of classes.
        precision: "fp32" or "bf16".
        channels_last: keep the weights of the convolutions in that layout rather than in the contiguous one.
        image_shape: (channels, height, width).
    """
    torch.manual_seed(0)
    module = ClassifierModule(config, image_shape, classes).to(device)
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    optimizer = module.configure_optimizers()["optimizer"]
    images = torch.rand(batch_size, *image_shape, device=device)
    labels = torch.randint(classes, (batch_size,), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step((images, labels), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
