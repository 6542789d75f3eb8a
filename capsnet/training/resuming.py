"""Is it possible to continue a training from what its folder has? Everything is checked before anything is written."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from ..data.dataset import Dataset, changed_files
from ..errors import CheckpointError, ConfigError
from ..runs.checkpoints import check_weights, network_weights, read_checkpoint
from ..runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT
from ..settings.config import Config
from .averaging import WeightAverage
from .callbacks import EpochLog

log = logging.getLogger(__name__)


class Resumption(NamedTuple):
    """From where a training continues."""

    checkpoint: Path | None = None
    """None: from the start."""
    step: int = 0
    """Of the optimizer; none before is trained again."""


def checkpoint_to_resume(
    config: Config, run_dir: Path, record: dict[str, Any], dataset: Dataset, module: Any, trainer: pl.Trainer
) -> Resumption:
    """The last checkpoint of a run, if there is one that has a whole epoch.

    Args:
        config: to continue with.
        run_dir: the run's folder.
        record: the run's; empty if it has none yet.
        dataset: its training images have been read.
        module: the Lightning module that is going to be trained.
        trainer: that is going to train it.

    Raises:
        CheckpointError: the training cannot continue: a file of the run is damaged, or the data are not what they were.
        ConfigError: more epochs are trained already than the config asks for.
    """
    _refuse_other_data(record, dataset)
    best, last = run_dir / BEST_CHECKPOINT, run_dir / LAST_CHECKPOINT
    if not last.exists():
        return Resumption()
    content = read_checkpoint(last)
    if not {"optimizer_states", "lr_schedulers", "loops", "callbacks"} <= content.keys():
        raise CheckpointError(f"{last}: cannot be resumed, since it has only weights")
    check_weights(network_weights(content), module.network, last)
    if average := content["callbacks"].get(WeightAverage.__qualname__):
        check_weights(average["weights"], module.network, last)
    if not content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]:
        log.info("The first epoch was cut short, so the training starts again")
        return Resumption()
    trainer.precision_plugin.convert_module(module)  # as `fit` does, so that the optimizer's state has its type
    _check_optimizer_state(content, module, last)
    if not best.exists() and content["callbacks"][EpochLog.__qualname__]["best_epoch"] is not None:
        raise CheckpointError(f"{best}: is missing, so this run cannot continue")
    trained = content["epoch"] + 1
    if trained > config.trainer.max_epochs:
        raise ConfigError(f"trainer.max_epochs={config.trainer.max_epochs}: this run has {trained} epochs already")
    return Resumption(last, content["global_step"])


def _refuse_other_data(record: dict[str, Any], dataset: Dataset) -> None:
    """Raise CheckpointError if a run would continue on other images than those it began with."""
    now, before = dataset.record(), record.get("dataset", {})
    changed = changed_files(before, now)
    changed += [name for name in ("train", "val") if before.get(name, now.get(name)) != now.get(name)]
    if changed:
        raise CheckpointError(f"data={dataset.name}: not the data that this run began with: {changed[0]} has changed")


def _check_optimizer_state(content: dict[str, Any], module: Any, path: Path) -> None:
    """Raise CheckpointError if the optimizer's state does not fit the weights: a fused step would read beyond them."""
    optimizer = module.configure_optimizers()["optimizer"]
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step(lambda: torch.zeros(()))  # the first step makes the state; the weights are replaced later
    optimizer.zero_grad()
    wanted, saved = optimizer.state_dict(), content["optimizer_states"][0]
    if saved["state"]:  # a weight that the loss does not reach has no state
        wanted["state"] = {weight: state for weight, state in wanted["state"].items() if weight in saved["state"]}
    numbers = [[group["params"] for group in state["param_groups"]] for state in (wanted, saved)]
    if numbers[0] != numbers[1] or not _has_form_of(wanted["state"], saved["state"]):
        raise CheckpointError(f"{path}: its optimizer's state does not fit the network")


def _has_form_of(wanted: dict[Any, Any], saved: dict[Any, Any]) -> bool:
    """Do two states have the same keys, and tensors of the same shapes and types, with finite numbers?"""
    if saved.keys() != wanted.keys():
        return False
    for key, value in wanted.items():
        if isinstance(value, dict) and not _has_form_of(value, saved[key]):
            return False
        if isinstance(value, Tensor):
            other = saved[key]
            same = isinstance(other, Tensor) and (other.shape, other.dtype) == (value.shape, value.dtype)
            if not same or not torch.isfinite(other).all():
                return False
    return True
