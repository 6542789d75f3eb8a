"""Every setting with its type, default, range and meaning: the one place where they stand.

Plain dataclasses, without Hydra or torch: the library takes its defaults from here, the command lines their schema,
and the YAML files under `configs/` say only where a choice differs from these defaults.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .errors import ConfigError

DATASETS = ("kmnist", "mnist", "fashion_mnist", "digits")
ROUTINGS = ("dynamic",)
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "64-true", "32", "bf16", "16", "64")


def _setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    one_of: tuple[Any, ...] | None = None,
    check: Callable[[Any], bool] | None = None,
) -> Any:
    """A dataclass field that knows its meaning and range; for odd types, `check` holds where `help` says what may be.

    None is always allowed where the type allows it.
    """
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    return field(
        default=default,
        metadata={
            "help": help,
            "bounds": {k: v for k, v in bounds.items() if v is not None},
            "one_of": one_of,
            "check": check,
        },
    )


@dataclass
class DataConfig:
    name: str = _setting("kmnist", "which dataset", one_of=DATASETS)
    root: str = _setting("data", "folder that holds the datasets' folders, such as KMNIST/raw")
    batch_size: int = _setting(128, "images per optimiser step, over all processes together", at_least=1)
    val_size: float = _setting(
        0.1, "share of the training images held out for validation; 1 or more: how many", at_least=0
    )
    limit: int | None = _setting(None, "use only this many training images, stratified", at_least=1)
    download: bool = _setting(True, "fetch what is missing from the dataset's own server")
    mirror: str | None = _setting(None, "download from this address instead of the dataset's own server")


@dataclass
class AugmentConfig:
    max_shift: int = _setting(0, "shift by up to this many pixels, each axis by itself; 0: off", at_least=0)
    cutout_size: int = _setting(0, "side of the blanked square in pixels, clipped at the border; 0: off", at_least=0)


@dataclass
class ModelConfig:
    conv_channels: int = _setting(256, "channels of the first convolution", at_least=1)
    primary_capsules: int = _setting(32, "types of primary capsules", at_least=1)
    primary_dim: int = _setting(8, "dimensions of a primary capsule", at_least=1)
    class_dim: int = _setting(16, "dimensions of a class capsule", at_least=1)
    dropout: float = _setting(0.0, "dropout on the decoder's hidden layers", at_least=0, below=1)


@dataclass
class RoutingConfig:
    name: str = _setting("dynamic", "how capsules are routed", one_of=ROUTINGS)
    iters: int = _setting(3, "routing iterations", at_least=1)


@dataclass
class LossConfig:
    m_pos: float = _setting(0.9, "m+: the right class's capsule should be longer", at_least=0, at_most=1)
    m_neg: float = _setting(0.1, "m-: the other classes' capsules should be shorter", at_least=0, at_most=1)
    down_weight: float = _setting(0.5, "λ: weight of the absent classes' loss", at_least=0)
    reconstruction_weight: float = _setting(
        0.392, "weight of the mean squared reconstruction error; 0.392 = the paper's 0.0005 x 784 pixels", at_least=0
    )


@dataclass
class OptimizerConfig:
    lr: float = _setting(0.001, "Adam's learning rate in the first epoch", above=0)
    lr_decay: float = _setting(0.9, "factor on the learning rate after each epoch", above=0, at_most=1)


@dataclass
class EarlyStoppingConfig:
    patience: int | None = _setting(
        None, "stop after this many epochs without better validation accuracy; null: never", at_least=1
    )
    min_delta: float = _setting(0.0, "what counts as better: a rise in accuracy above this", at_least=0)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_devices(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_whole(number, 0) for number in value)
    return value == "auto" or _is_whole(value, 1)


def _is_limit(value: Any, least: int) -> bool:
    return _is_whole(value, least) or (isinstance(value, float) and 0 < value <= 1)


def _is_count(value: Any) -> bool:
    return isinstance(value, bool) or _is_whole(value, 1)


def _is_time(value: str) -> bool:
    return re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", value) is not None


@dataclass
class TrainerConfig:
    """Arguments of Lightning's `Trainer`, and `compile`; null leaves Lightning's own default.

    Left out are those that the runner fills in itself (logger, callbacks, plugins, default_root_dir) and switches of
    parts that it replaces (enable_checkpointing, enable_model_summary, barebones, use_distributed_sampler).
    """

    accelerator: str = _setting("auto", "auto, cpu, gpu, ...")
    devices: Any = _setting(
        "auto", "a number of devices or processes, a list of GPU numbers, or auto", check=_is_devices
    )
    num_nodes: int = _setting(1, "machines", at_least=1)
    strategy: str = _setting("auto", "auto, ddp, ...")
    precision: str = _setting(
        "auto", "auto: bf16-mixed where the device itself computes in bfloat16, else 32-true", one_of=PRECISIONS
    )
    compile: bool = _setting(
        False, "compile the training step by torch.compile: half a minute at the start, and a compiler is needed"
    )
    max_epochs: int = _setting(10, "epochs to train", at_least=1)
    min_epochs: int | None = _setting(None, "epochs to train before early stopping may act", at_least=1)
    max_steps: int | None = _setting(None, "optimiser steps after which training ends", at_least=1)
    min_steps: int | None = _setting(None, "optimiser steps before which training does not end", at_least=1)
    max_time: str | None = _setting(None, "a time to train for, as DD:HH:MM:SS", check=_is_time)
    limit_train_batches: Any = _setting(
        None, "a number of batches per epoch from 1, or a share above 0 as a float", check=partial(_is_limit, least=1)
    )
    limit_val_batches: Any = _setting(
        None, "a number of validation batches from 0, or a share above 0 as a float", check=partial(_is_limit, least=0)
    )
    limit_test_batches: Any = _setting(None, "no effect: the test is the runner's own, over every image")
    limit_predict_batches: Any = _setting(None, "no effect: nothing is predicted but in the test")
    overfit_batches: Any = _setting(
        None,
        "a number of batches to train on again and again, or a share as a float",
        check=partial(_is_limit, least=0),
    )
    fast_dev_run: Any = _setting(
        None, "true, or a number of batches to run of training and validation, keeping no checkpoint", check=_is_count
    )
    check_val_every_n_epoch: int | None = _setting(None, "validate every this many epochs", at_least=1)
    val_check_interval: Any = _setting(
        None, "a number of batches from 1, or a share of the epoch as a float", check=partial(_is_limit, least=1)
    )
    num_sanity_val_steps: int | None = _setting(0, "validation batches run before training", at_least=0)
    log_every_n_steps: int | None = _setting(None, "no effect: metrics are logged once an epoch", at_least=1)
    accumulate_grad_batches: int | None = _setting(None, "batches per optimiser step", at_least=1)
    gradient_clip_val: float | None = _setting(None, "clip gradients at this", at_least=0)
    gradient_clip_algorithm: str | None = _setting(None, "norm or value", one_of=("norm", "value"))
    deterministic: Any = _setting(None, "true, false or warn", one_of=(True, False, "warn"))
    benchmark: bool | None = _setting(None, "let cuDNN pick its algorithms by trial")
    detect_anomaly: bool | None = _setting(None, "name the operation that made a NaN; slow")
    profiler: str | None = _setting(None, "simple, advanced or pytorch")
    enable_progress_bar: bool = _setting(True, "show progress")
    inference_mode: bool | None = _setting(None, "inference mode rather than no_grad in validation")
    sync_batchnorm: bool | None = _setting(None, "no effect: a CapsNet has no batch normalisation")
    reload_dataloaders_every_n_epochs: int | None = _setting(None, "how often to make the batches anew", at_least=0)
    enable_autolog_hparams: bool | None = _setting(None, "no effect: hyper-parameters are logged at the end")
    model_registry: str | None = _setting(None, "name of Lightning's model registry")


@dataclass
class Config:
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    routing: RoutingConfig = field(default_factory=RoutingConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    seed: int = _setting(0, "fixes initial weights, split, order and augmentation", at_least=0, at_most=2**32 - 1)


def settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field]]:
    """Every leaf of a config as (dotted key, value, field)."""
    for entry in dataclasses.fields(config):
        value, key = getattr(config, entry.name), prefix + entry.name
        if dataclasses.is_dataclass(value):
            yield from settings(value, key + ".")
        else:
            yield key, value, entry


NOT_THE_TRAINING = (
    *("data.root", "data.download", "data.mirror", "trainer.enable_progress_bar", "trainer.profiler"),
    *("trainer.log_every_n_steps", "trainer.limit_test_batches", "trainer.limit_predict_batches"),
)
"""Settings that have no part in what is trained."""


def config_digest(config: Config) -> str:
    """sha256 over every setting that has a part in what is trained, by key."""
    kept = {key: value for key, value, _ in settings(config) if key not in NOT_THE_TRAINING}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def check(config: Config) -> None:
    """Hold every value against its range, and the values against each other.

    Raises:
        ConfigError: names the key, the value and what is allowed.
    """
    for key, value, entry in settings(config):
        _check_range(key, value, entry.metadata)
    if config.loss.m_neg >= config.loss.m_pos:
        raise ConfigError(f"loss.m_neg={config.loss.m_neg}: must be below loss.m_pos={config.loss.m_pos}")
    val_size = config.data.val_size
    if val_size >= 1 and val_size != int(val_size):
        raise ConfigError(f"data.val_size={val_size}: a share below 1, or a whole number of images")
    if val_size == 0 and config.early_stopping.patience is not None:
        raise ConfigError(
            f"early_stopping.patience={config.early_stopping.patience}: needs validation images, but data.val_size=0"
        )
    trainer = config.trainer
    if trainer.check_val_every_n_epoch is not None and trainer.check_val_every_n_epoch > trainer.max_epochs:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={trainer.check_val_every_n_epoch}:"
            f" above trainer.max_epochs={trainer.max_epochs}, nothing would be validated"
        )
    for unit in ("epochs", "steps"):
        least, most = getattr(trainer, f"min_{unit}"), getattr(trainer, f"max_{unit}")
        if least is not None and most is not None and least > most:
            raise ConfigError(f"trainer.min_{unit}={least}: above trainer.max_{unit}={most}")


def _check_range(key: str, value: Any, metadata: Any) -> None:
    one_of, bounds = metadata.get("one_of"), metadata.get("bounds", {})
    if value is None:
        return
    if one_of is not None and value not in one_of:
        raise ConfigError(f"{key}={value}: must be one of {', '.join(map(str, one_of))}")
    if metadata.get("check") is not None and not metadata["check"](value):
        raise ConfigError(f"{key}={value}: must be {metadata['help']}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}={value}: must be a finite number")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    holds = {
        "at least": lambda bound: value >= bound,
        "above": lambda bound: value > bound,
        "at most": lambda bound: value <= bound,
        "below": lambda bound: value < bound,
    }
    if not all(holds[name](bound) for name, bound in bounds.items()):
        allowed = " and ".join(f"{name} {bound:g}" for name, bound in bounds.items())
        raise ConfigError(f"{key}={value}: must be {allowed}")
