"""What computes fastest here: precision, Fourier domain and memory layout, chosen by timing the network's own steps.

Flags of a processor do not tell: PyTorch's bf16 convolutions are slower than its fp32 ones on some processors that
multiply matrices of bf16. What was measured is remembered in the user's cache folder, so the same command makes the
same choice again. Nothing is measured on GPUs, and in processes that torchrun or SLURM started.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from filelock import FileLock
from torch import Tensor, nn

from ..data.batches import with_extras
from ..data.cache import user_cache
from ..data.source import NOTHING
from ..files import make_folder, read_json, write_json
from ..losses import END
from ..networks.fourier import FourierConv2d, choose_fourier, worth_fourier
from ..runs.provenance import processor_name, versions
from ..settings.config import Config, as_dict, build_loss
from ..settings.plugins import loaded_plugin
from ..settings.trainer import Trainer
from .allocation import freed_memory_kept

log = logging.getLogger(__name__)

SECONDS = 0.8  # after which no further candidate is timed, once there are two
CLEARLY = 0.9  # of the simplest one's time: a candidate has to be as fast as that to be preferred to a simpler one
SHORT = 0.02  # seconds: a step that takes no longer is timed a few times
LONG = 0.2  # seconds: a step that takes longer is not repeated, although the first of its kind prepares the next ones
FEW, GROWTH = 2, 4  # images of the first step, and how many times as many each further one has
LEAST_SLOPE = 0.2  # of the time of an image in the last step: what each further one takes at least
REPEATS = 3
ROUNDS = 3  # over all candidates, as long as there is time
LONGEST_WAIT = 60  # seconds, for another process that measures the same
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}


class Choice(NamedTuple):
    """How a training computes."""

    precision: str
    """Of Lightning: 32-true, bf16-mixed, ..."""
    fourier: str
    """on: convolutions go through the Fourier domain where this takes clearly fewer multiplications; off."""
    layout: str
    """Of the convolutions' weights, and so of feature maps: contiguous or channels_last."""

    def __str__(self) -> str:
        convolutions = "through the Fourier domain" if self.fourier == "on" else "direct"
        return f"{self.precision}, convolutions {convolutions}, {self.layout.replace('_', ' ')}"


@dataclass
class Decision:
    """A choice, and how it was made."""

    choice: Choice
    origin: str
    """set, measured, remembered, recorded (by the run that is continued or repeated), or by rule."""
    ms_per_image: dict[str, float] = field(default_factory=dict)
    """Of a training step, by candidate, as far as it was measured."""

    def record(self) -> dict[str, Any]:
        """For results.json."""
        return {**self.choice._asdict(), **{key: value for key, value in asdict(self).items() if key != "choice"}}


def recorded_decision(computing: dict[str, Any], settings: Trainer) -> Decision:
    """The choice that a run began with, see `runs.record.recorded_computing`, but for what is set now."""
    begun = Choice(*(str(computing[name]) for name in Choice._fields))
    return Decision(begun._replace(**_set(settings)), "recorded")


def ruled_decision(settings: Trainer) -> Decision:
    """The choice without measuring: bf16 on GPUs that compute in it."""
    on_gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    use_bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    rule = Choice("bf16-mixed" if use_bf16 else "32-true", "on", "channels_last")
    return Decision(rule._replace(**_set(settings)), "by rule")


def decide(
    config: Config,
    module: Any,
    single_shape: tuple[int, int, int],
    num_classes: int,
    batch: int,
    extras: Mapping[str, Tensor] = NOTHING,
) -> Decision:
    """The fastest choice for the training of a module on this machine, or the one that is set.

    Args:
        config: of the run; what is not `auto` in it is not chosen.
        module: the Lightning module, on the CPU. Its weights, buffers and the random numbers stay as they are.
        single_shape: (channels, height, width) of the dataset's images.
        num_classes: number of classes.
        batch: images in a step of this process.
        extras: of the dataset's images, at least as many as a batch has.
    """
    settings = config.trainer
    ruled = ruled_decision(settings)
    if not _on_cpu(settings) or ruled.choice.precision not in ("32-true", "bf16-mixed"):
        return ruled
    steps = Steps(module, single_shape, num_classes, batch, extras)
    possible = candidates(settings, bool(steps.worth_fourier))
    if len(possible) == 1:
        return Decision(possible[0], "set")
    key = _key(config, module.task.image_shape(single_shape), num_classes, batch)
    times, known = _remembered(key, lambda: steps.ms_per_image(possible))
    return Decision(simplest_of_the_fastest(possible, times), "remembered" if known else "measured", times)


def apply(choice: Choice, network: nn.Module) -> None:
    """Let a network compute as chosen, but for the precision, which is the Trainer's."""
    choose_fourier(network, choice.fourier)
    network.to(memory_format=LAYOUTS[choice.layout])


def has_bfloat16() -> bool:
    """Has this processor instructions that multiply bfloat16? Without, it is up to 20 times slower than float32."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "arm_bf16"))


def _on_cpu(settings: Trainer) -> bool:
    return settings.accelerator == "cpu" or (settings.accelerator == "auto" and not torch.accelerator.is_available())


def _set(settings: Trainer) -> dict[str, str]:
    """The parts of a choice that the settings make."""
    chosen = {name: getattr(settings, name) for name in Choice._fields}
    chosen["precision"] = PRECISIONS.get(settings.precision, settings.precision)
    if settings.compile:
        chosen["fourier"] = "off"
    return {name: value for name, value in chosen.items() if value != "auto"}


def candidates(settings: Trainer, fourier_saves: bool) -> list[Choice]:
    """What may be chosen; the simpler ones first."""
    fixed = {name: (value,) for name, value in _set(settings).items()}
    precisions = fixed.get("precision", ("32-true", "bf16-mixed") if has_bfloat16() else ("32-true",))
    ways = fixed.get("fourier", ("off", "on") if fourier_saves else ("off",))
    layouts = fixed.get("layout", ("channels_last", "contiguous"))
    return [
        Choice(precision, way, layout)
        for precision in precisions
        for way in ways
        for layout in layouts
        if way == "off" or layout == layouts[0]  # the Fourier domain reads maps with the channels last
    ]


def simplest_of_the_fastest(possible: list[Choice], times: dict[str, float]) -> Choice:
    """The first candidate that no other one is clearly faster than; the first of all if none could be timed."""
    timed = [choice for choice in possible if str(choice) in times]
    fastest = min((times[str(choice)] for choice in timed), default=0.0)
    return next((choice for choice in timed if fastest > CLEARLY * times[str(choice)]), possible[0])


class Steps:
    """Training steps of a module on random images, in the form of each candidate."""

    def __init__(
        self,
        module: Any,
        single_shape: tuple[int, int, int],
        num_classes: int,
        batch: int,
        extras: Mapping[str, Tensor] = NOTHING,
    ):
        self.module, self.batch, task = module, batch, module.task
        self.loss = build_loss(module.config.loss)  # that of the training may count its calls
        self.worth_fourier = worth_fourier(module.network, torch.zeros(1, *task.image_shape(single_shape)), batch)
        labels = torch.arange(max(batch, num_classes)) % num_classes
        pictures = torch.rand(len(labels), *single_shape, generator=torch.Generator().manual_seed(0))
        items = {name: drawn[:batch] for name, drawn in task.plan(labels, num_classes).items()}
        self.images, targets = task.compose(lambda rows: (pictures[rows], labels[rows]), items, num_classes)
        self.targets = with_extras(targets, extras, items["row"])

    def ms_per_image(self, possible: list[Choice]) -> dict[str, float]:
        """Of each choice, as many as there is time for; the layouts that mostly lose come last."""
        times: dict[str, float] = {}
        began = time.perf_counter()
        turns = ROUNDS * sorted(possible, key=lambda choice: choice.layout == "contiguous")
        with _left_as_it_was(self.module.network), freed_memory_kept(), torch.random.fork_rng(devices=[]):
            for choice in turns:
                if len(times) >= 2 and time.perf_counter() - began > SECONDS:
                    break
                self.compute_as(choice)
                # A plugin's network or loss may lack a precision; other errors come again in training.
                with contextlib.suppress(Exception):
                    took = round(1e3 * self._seconds(choice) / self.batch, 3)
                    times[str(choice)] = min(took, times.get(str(choice), took))
        return times

    def compute_as(self, choice: Choice) -> None:
        """Let the network compute as it would with whole batches, whatever the size of the steps that are timed."""
        self.module.network.to(memory_format=LAYOUTS[choice.layout])
        for convolution in self.module.network.modules():
            if isinstance(convolution, FourierConv2d):
                used = choice.fourier == "on" and convolution in self.worth_fourier
                convolution.fourier = "always" if used else "off"

    def _seconds(self, choice: Choice) -> float:
        """Of a step with the whole batch; extrapolated from the last two of shorter ones, if those take long enough."""
        count = min(self.batch, FEW)
        first = self.seconds_of_one(choice, count)
        seconds = first if first > LONG else self._shortest(choice, count)
        while count < self.batch:
            earlier_count, earlier = count, seconds
            count = min(self.batch, GROWTH * count)
            seconds = self._shortest(choice, count)
            if seconds > LONG / 2 and count < self.batch:
                slope = max((seconds - earlier) / (count - earlier_count), LEAST_SLOPE * seconds / count)
                return seconds + slope * (self.batch - count)
        return seconds

    def _shortest(self, choice: Choice, count: int) -> float:
        """Seconds of the shortest of a few steps, or of one if it takes long."""
        shortest = self.seconds_of_one(choice, count)
        if shortest > SHORT:
            return shortest
        return min(shortest, *(self.seconds_of_one(choice, count) for _ in range(REPEATS)))

    def seconds_of_one(self, choice: Choice, count: int) -> float:
        """Of a forward and a backward pass with so many images."""
        images, targets = self.images[:count], self.targets.first(count)
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=choice.precision == "bf16-mixed"):
            output = self.module.task.output(self.module.network, images, targets)
            loss: Tensor = self.loss(output, targets, END)["loss"]
        loss.backward()
        return time.perf_counter() - began


@contextlib.contextmanager
def _left_as_it_was(network: nn.Module) -> Iterator[None]:
    """Train a network here without a trace: buffers as they were, no gradients."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train()
    try:
        yield
    finally:
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])
        network.zero_grad(set_to_none=True)


def _key(config: Config, image_shape: tuple[int, int, int], num_classes: int, batch: int) -> dict[str, Any]:
    """All that a choice depends on."""
    values, plugin = as_dict(config), loaded_plugin()
    return {
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "versions": {name: version for name, version in versions().items() if name in ("capsnet", "torch")},
        "plugin": plugin.sha256 if plugin else None,
        **{group: values.get(group) for group in ("model", "routing", "loss")},
        "set": _set(config.trainer),
        "image_shape": list(image_shape),
        "classes": num_classes,
        "batch": batch,
    }


def _remembered(key: dict[str, Any], measure: Callable[[], dict[str, float]]) -> tuple[dict[str, float], bool]:
    """What `measure` gave for a key, and whether that was before. Processes that ask at once wait for the first one."""
    folder = user_cache()
    if folder is None:
        return measure(), False
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]
    file = folder / "choices" / f"{digest}.json"
    try:
        make_folder(file.parent)
        with FileLock(file.with_suffix(".lock"), timeout=LONGEST_WAIT):
            if file.exists():
                return read_json(file)["ms_per_image"], True
            times = measure()
            write_json(file, {"key": key, "ms_per_image": times})
            return times, False
    except (OSError, ValueError, KeyError) as error:
        log.debug("%s: a choice cannot be remembered (%s)", file, error)
        return measure(), False
