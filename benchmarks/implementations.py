"""The implementations that the benchmarks compare, and a training step with each."""

from collections.abc import Callable
from pathlib import Path

import torch

from capsnet.networks.fourier import choose_fourier
from capsnet.output import Targets
from capsnet.settings.config import Config
from capsnet.settings.parse import config_from_dict
from capsnet.settings.plugins import load_plugin
from capsnet.training.module import CapsNetModule

IMAGE_SHAPE = (1, 28, 28)
EPOCH = 60_000  # images of MNIST and KMNIST

IMPLEMENTATIONS: dict[str, dict[str, dict[str, str]]] = {
    "floor": {"routing": {"name": "uniform"}, "trainer": {"fourier": "off"}},
    "direct": {"routing": {"name": "dynamic"}, "trainer": {"fourier": "off"}},
    "ours": {"routing": {"name": "dynamic"}},
    "ours, no routing": {"routing": {"name": "uniform"}},
    "efficient": {"model": {"name": "efficient_capsnet"}},
    "einsum": {"routing": {"name": "einsum"}, "trainer": {"fourier": "off"}},
    "matmul": {"routing": {"name": "matmul"}, "trainer": {"fourier": "off"}},
    "priors": {"routing": {"name": "priors"}, "trainer": {"fourier": "off"}},
}
"""What the benchmarks compare, and the settings of each. The routings of the last three are in baselines.py."""


def config_with(implementation: str, compiled: bool = False) -> Config:
    """The default config with another implementation.

    Args:
        implementation: one of IMPLEMENTATIONS.
        compiled: use torch.compile.
    """
    load_plugin(Path(__file__).with_name("baselines.py"))
    settings = IMPLEMENTATIONS[implementation]
    return config_from_dict(settings | {"trainer": settings.get("trainer", {}) | {"compile": compiled}})


def training_step(
    config: Config,
    batch_size: int,
    device: str,
    classes: int,
    precision: str = "fp32",
    layout: torch.memory_format | None = None,
    image_shape: tuple[int, int, int] = IMAGE_SHAPE,
    compile_mode: str | None = None,
) -> Callable[[], None]:
    """A function that trains for one step on random images, as Lightning would: forward, backward, Adam, metrics.

    Args:
        config: of the network and its training.
        batch_size: images in the step.
        device: "cpu" or "cuda".
        classes: number of classes.
        precision: "fp32" or "bf16".
        layout: of the convolutions' weights, and so of the feature maps; None: channels last.
        image_shape: (channels, height, width).
        compile_mode: of torch.compile; None: not compiled, unless the config says so.

    Returns:
        The step. Its attribute `module` is the module that it trains.
    """
    torch.manual_seed(0)
    module = CapsNetModule(config=config, image_shape=image_shape, num_classes=classes).to(device)
    if config.trainer.fourier != "auto":
        choose_fourier(module.network, config.trainer.fourier)
    if layout is not None:
        module.to(memory_format=layout)
    if compile_mode is not None:
        module._compiled = torch.compile(module._output, mode=compile_mode, dynamic=False)
    optimizer = module.configure_optimizers()["optimizer"]
    images = torch.rand(batch_size, *image_shape, device=device)
    labels = torch.randint(classes, (batch_size,), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            loss = module.training_step((images, Targets(labels, images)), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step.module = module
    return step


def inference_step(config: Config, batch_size: int, device: str, classes: int) -> Callable[[], None]:
    """A function that classifies random images once, in float32, as validation and `evaluate.py` do."""
    torch.manual_seed(0)
    network = CapsNetModule(config=config, num_classes=classes, image_shape=IMAGE_SHAPE).to(device).network.eval()
    images = torch.rand(batch_size, *IMAGE_SHAPE, device=device)

    def step() -> None:
        with torch.inference_mode():
            network(images)

    return step
