"""Is it possible to continue a training from what its folder has? Everything is checked before anything is written."""

import logging
import math
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ..data.dataset import Dataset
from ..errors import CheckpointError, ConfigError
from ..runs.checkpoints import CONFIG_KEY, check_weights, network_weights, read_checkpoint
from ..runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT, RECORD_FILE
from ..runs.record import read_record
from ..settings.config import Config, leaves
from ..settings.parse import config_from_dict
from .averaging import WeightAverage
from .callbacks import EpochLog

log = logging.getLogger(__name__)


def checkpoint_to_resume(
    config: Config, run_dir: Path, dataset: Dataset, module: Any, trainer: pl.Trainer
) -> Path | None:
    """The last checkpoint of a run, if there is one that has a whole epoch.

    Args:
        config: to continue with.
        run_dir: the run's folder.
        dataset: its training images have been read.
        module: the Lightning module that is going to be trained.
        trainer: that is going to train it.

    Raises:
        CheckpointError: the training cannot continue: a file of the run is damaged, or the data are not what they were.
        ConfigError: more epochs are trained already than the config asks for.
    """
    if (run_dir / RECORD_FILE).exists():
        _refuse_other_data(read_record(run_dir), dataset)
    best, last = run_dir / BEST_CHECKPOINT, run_dir / LAST_CHECKPOINT
    best_content = read_checkpoint(best) if os.path.lexists(best) else None
    if best_content is not None:
        _check_weights(best_content, module, best)
    if not os.path.lexists(last):
        return None
    content = read_checkpoint(last)
    _check_weights(content, module, last)
    states = content.get("callbacks") or {}
    log_state, average_state = (states.get(owner.__qualname__) for owner in (EpochLog, WeightAverage))
    parts = {"optimizer_states": list, "lr_schedulers": list, "loops": dict}
    complete = all(content.get(key) and isinstance(content[key], kind) for key, kind in parts.items())
    averaged = _is_average_state(average_state)
    if not complete or not _is_log_state(log_state) or averaged != bool(config.trainer.average_weights):
        raise CheckpointError(f"{last}: cannot be resumed, or is from another version of this project")
    if averaged:
        check_weights(average_state["weights"], module.network, last)
    trainer.precision_plugin.convert_module(module)  # as `fit` does, so that the optimizer's state has its type
    _check_optimizer_state(content, module, last)
    if not _has_form_of(trainer.fit_loop.state_dict(), content["loops"].get("fit_loop")):
        raise CheckpointError(f"{last}: its count of epochs and steps is not one of this version's")
    if not content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]:
        if content["epoch"] > 0:
            raise CheckpointError(f"{last}: its last epoch was cut short, by another version of this project")
        log.info("The first epoch was cut short, so the training starts again")
        return None
    trained = content["epoch"] + 1
    _check_best(best, best_content, content, log_state["best_epoch"])
    if trained > config.trainer.max_epochs:
        raise ConfigError(f"trainer.max_epochs={config.trainer.max_epochs}: this run has {trained} epochs already")
    return last


def _check_weights(content: dict[str, Any], module: Any, path: Path) -> None:
    """Raise CheckpointError if a checkpoint does not have the module's weights and nothing else."""
    check_weights(network_weights(content, path), module.network, path)
    if differing := content["state_dict"].keys() ^ module.state_dict().keys():
        raise CheckpointError(f"{path}: its weights do not fit the network: {min(differing)}")


def _is_log_state(state: Any) -> bool:
    """Is it a state of `EpochLog`, with numbers where there are numbers?"""
    if not isinstance(state, dict) or not {*EpochLog.STATE, "earlier_seconds"} <= state.keys():
        return False
    numbers = [state[name] for name in ("epochs", "images", "training_seconds", "earlier_seconds")]
    numbers += [state[name] for name in ("best_epoch", "best_val_accuracy", "stopped_at") if state[name] is not None]
    columns, rows = state["columns"], state["rows"]
    if not isinstance(columns, list) or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return False
    numbers += [value for row in rows for value in row.values()]
    known = all(key in columns for row in rows for key in row) and len(rows) == state["epochs"]
    return known and all(type(number) in (int, float) and math.isfinite(number) for number in numbers)


def _is_average_state(state: Any) -> bool:
    """Is it a state of `WeightAverage`, but for what the weights are?"""
    return isinstance(state, dict) and type(state.get("steps")) is int and isinstance(state.get("weights"), dict)


def _check_best(best: Path, content: dict[str, Any] | None, last: dict[str, Any], best_epoch: int | None) -> None:
    """Raise CheckpointError if best.ckpt is not the one that the run saved in its best epoch."""
    if best_epoch is None:
        return
    if content is None:
        raise CheckpointError(f"{best}: is missing, so this run cannot continue")
    epochs = (best_epoch, last["epoch"] + 2)  # it may have been killed in the next epoch, which is trained again
    if content.get("epoch", -1) + 1 not in epochs or not _same_training(content.get(CONFIG_KEY), last[CONFIG_KEY]):
        raise CheckpointError(f"{best}: is not from this run, or not from its best epoch, {best_epoch}")


def _same_training(one: Any, other: Any) -> bool:
    """Do two saved configs train the same, but for limits such as `trainer.max_epochs`?"""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    try:
        configs = [config_from_dict(saved) for saved in (one, other)]
    except ConfigError:
        return False
    first, second = (
        {key: value for key, value, about in leaves(config) if about.trained and not about.extends}
        for config in configs
    )
    return first == second


def _refuse_other_data(record: dict[str, Any], dataset: Dataset) -> None:
    """Raise CheckpointError if a run would continue on other images than those it began with."""
    now, before = dataset.record(), record.get("dataset")
    before = before if isinstance(before, dict) else {}
    files = before.get("files") if isinstance(before.get("files"), dict) else {}
    changed = [name for name, digest in files.items() if now["files"].get(name, digest) != digest]
    changed += [name for name in ("train", "val") if before.get(name, now.get(name)) != now.get(name)]
    if changed:
        raise CheckpointError(f"data={dataset.name}: not the data that this run began with: {changed[0]} has changed")


def _check_optimizer_state(content: dict[str, Any], module: Any, path: Path) -> None:
    """Raise CheckpointError if optimizer and schedule do not fit the weights: a fused step would read beyond them."""
    fresh = module.configure_optimizers()
    optimizer, schedule = fresh["optimizer"], fresh["lr_scheduler"]["scheduler"]
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step(lambda: torch.zeros(()))  # the first step makes the state; the weights are replaced later
    optimizer.zero_grad()
    wanted, saved = optimizer.state_dict(), content["optimizer_states"][0]
    if not _has_form_of(wanted, saved) or _weights_in_order(wanted) != _weights_in_order(saved):
        raise CheckpointError(f"{path}: its optimizer's state does not fit the network")
    if not _has_form_of(schedule.state_dict(), *content["lr_schedulers"][:1]):
        raise CheckpointError(f"{path}: its learning rate's state does not fit the optimizer")


def _weights_in_order(state: dict[str, Any]) -> list[list[int]]:
    """The numbers of the weights that each group of an optimizer's state belongs to."""
    return [group["params"] for group in state["param_groups"]]


def _has_form_of(wanted: Any, saved: Any) -> bool:
    """Do two states have the same keys, types and shapes, and finite numbers?"""
    if type(saved) in (int, float) and type(wanted) in (int, float):
        return math.isfinite(saved) or saved == wanted
    if type(saved) is not type(wanted):
        return False
    if isinstance(wanted, dict):
        return saved.keys() == wanted.keys() and all(_has_form_of(wanted[key], saved[key]) for key in wanted)
    if isinstance(wanted, list | tuple):
        return len(saved) == len(wanted) and all(map(_has_form_of, wanted, saved))
    if isinstance(wanted, Tensor):
        return (saved.shape, saved.dtype) == (wanted.shape, wanted.dtype) and bool(torch.isfinite(saved).all())
    return True
