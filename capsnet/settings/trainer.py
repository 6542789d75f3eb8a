"""Arguments of Lightning's `Trainer`, and some of our own: `compile`, `fourier`, `layout` and `average_weights`.

The options under configs/trainer/ are presets of these.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import ConfigError
from .setting import setting

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "64-true", "32", "bf16", "16", "64")

NO_EFFECT = {
    "barebones": "the runner always logs and saves checkpoints",
    "callbacks": "callbacks=NAME chooses them",
    "default_root_dir": "hydra.run.dir sets the run's folder",
    "enable_autolog_hparams": "hyper-parameters are always logged",
    "enable_checkpointing": "best.ckpt and last.ckpt are always saved",
    "enable_model_summary": "the run's first lines show the network's size",
    "limit_predict_batches": "training predicts nothing",
    "limit_test_batches": "the test always scores every image",
    "logger": "logger=NAME chooses them",
    "model_registry": "checkpoints stay in the run's folder",
    "plugins": "the runner chooses them",
    "reload_dataloaders_every_n_epochs": "the training images are shuffled again in every epoch",
    "use_distributed_sampler": "the processes always share each batch",
}
"""Arguments of Lightning's `Trainer` that have no effect here, and why."""

_trained = partial(setting, evaluated=False, hyperparameter=False)
_where = partial(setting, trained=False, evaluated=False, hyperparameter=False)


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
    return re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", value) is not None and value != "00:00:00:00"


@dataclass
class Trainer:
    """null leaves Lightning's own default."""

    accelerator: str = _where("auto", "auto, cpu, gpu, ...")
    devices: Any = _where("auto", "a number of devices or processes, a list of GPU numbers, or auto", check=_is_devices)
    num_nodes: int = _where(1, "machines", at_least=1)
    strategy: str = _where("auto", "auto, ddp, ...")
    precision: str = setting(
        "auto",
        "auto: 32-true or bf16-mixed, whichever is faster; on a CPU that is measured",
        one_of=PRECISIONS,
        evaluated=False,
    )
    compile: bool = _where(
        False, "compile the training step with torch.compile; takes half a minute and needs a C++ compiler"
    )
    fourier: str = _where(
        "auto",
        "convolutions on CPUs through the Fourier domain. on: where it saves multiplications; auto: if that is faster",
        one_of=("auto", "on", "off"),
    )
    layout: str = _where(
        "auto",
        "memory layout of the convolutions' weights and maps; auto: the faster one",
        one_of=("auto", "contiguous", "channels_last"),
    )
    average_weights: float = setting(
        0.0,
        "validate and test a moving average of the weights, which keeps this share of itself in a step; 0: off",
        at_least=0,
        below=1,
        evaluated=False,
    )
    max_epochs: int = setting(10, "epochs to train", at_least=1, extends=True, evaluated=False)
    min_epochs: int | None = _trained(None, "epochs to train before early stopping may stop the run", at_least=1)
    max_steps: int | None = _trained(None, "optimizer steps after which training ends", at_least=1, extends=True)
    min_steps: int | None = _trained(None, "least number of optimizer steps to train", at_least=1)
    max_time: str | None = _trained(
        None, "a time above zero, as DD:HH:MM:SS; the longest to train", check=_is_time, extends=True
    )
    limit_train_batches: Any = _trained(
        None, "a number of batches, at least 1, or a share of them such as 0.1", check=partial(_is_limit, least=1)
    )
    limit_val_batches: Any = _trained(
        None, "a number of validation batches, or a share of them such as 0.1", check=partial(_is_limit, least=0)
    )
    overfit_batches: Any = _trained(
        None,
        "a number of batches to train on in every epoch, or a share of them such as 0.1; without augmentation; 0: off",
        check=partial(_is_limit, least=0),
    )
    fast_dev_run: Any = _trained(
        None, "true, or a number of batches to train and validate, without saving checkpoints", check=_is_count
    )
    check_val_every_n_epoch: int | None = _trained(None, "epochs from one validation to the next", at_least=1)
    val_check_interval: Any = _trained(
        None,
        "validate so often: a number of batches, or a share of the epoch such as 0.5; the last one of an epoch counts",
        check=partial(_is_limit, least=1),
    )
    num_sanity_val_steps: int | None = _trained(0, "validation batches to run before training", at_least=0)
    accumulate_grad_batches: int | None = _trained(None, "batches per optimizer step", at_least=1)
    gradient_clip_val: float | None = _trained(None, "clip gradients that are larger than this", at_least=0)
    gradient_clip_algorithm: str | None = _trained(None, "norm or value", one_of=("norm", "value"))
    sync_batchnorm: bool | None = _trained(None, "normalize over the batches of all processes; GPUs only")
    deterministic: Any = _trained(None, "true, false or warn", one_of=(True, False, "warn"))
    benchmark: bool | None = _trained(None, "let cuDNN time its algorithms and choose the fastest")
    detect_anomaly: bool | None = _trained(None, "name the operation that made a NaN; slow")
    profiler: str | None = _where(None, "simple, advanced or pytorch")
    log_every_n_steps: int = _where(
        10, "optimizer steps from one point of the curves by step to the next, at most an epoch", at_least=1
    )
    enable_progress_bar: bool = _where(True, "show a progress bar in a terminal")
    inference_mode: bool | None = _trained(None, "validate in inference mode rather than no_grad")

    def check(self) -> None:
        """Raise ConfigError if two settings contradict each other."""
        if self.compile and self.fourier == "on":
            raise ConfigError("trainer.fourier=on: compiled networks convolve directly; leave out trainer.compile=true")
        if self.check_val_every_n_epoch is not None and self.check_val_every_n_epoch > self.max_epochs:
            raise ConfigError(
                f"trainer.check_val_every_n_epoch={self.check_val_every_n_epoch}:"
                f" above trainer.max_epochs={self.max_epochs}, so nothing would be validated"
            )
        for unit in ("epochs", "steps"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if least is not None and most is not None and least > most:
                raise ConfigError(f"trainer.min_{unit}={least}: above trainer.max_{unit}={most}")
