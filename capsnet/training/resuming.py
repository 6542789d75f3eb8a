"""Is it possible to continue a training from what its folder has? Everything is checked before anything is written."""

import math
import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..data.dataset import Dataset
from ..errors import CheckpointError, ConfigError
from ..runs.checkpoints import CONFIG_KEY, check_weights, network_weights, read_checkpoint
from ..runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT, RECORD_FILE
from ..runs.record import read_record
from ..settings.config import Config
from .callbacks import EpochLog


def checkpoint_to_resume(config: Config, run_dir: Path, dataset: Dataset, module: Any) -> Path | None:
    """The last checkpoint of a run, if there is one.

    Args:
        config: to continue with.
        run_dir: the run's folder.
        dataset: its training images have been read.
        module: the Lightning module that is going to be trained.

    Raises:
        CheckpointError: the training cannot continue: a file of the run is damaged, or the data are not what they were.
        ConfigError: more epochs are trained already than the config asks for.
    """
    if (run_dir / RECORD_FILE).exists():
        _refuse_other_data(read_record(run_dir), dataset)
    best, last = run_dir / BEST_CHECKPOINT, run_dir / LAST_CHECKPOINT
    best_content = read_checkpoint(best) if os.path.lexists(best) else None
    if best_content is not None:
        check_weights(network_weights(best_content, best), module.network, best)
    if not os.path.lexists(last):
        return None
    content = read_checkpoint(last)
    check_weights(network_weights(content, last), module.network, last)
    log_state = (content.get("callbacks") or {}).get(EpochLog.__qualname__)
    complete = all(content.get(key) for key in ("optimizer_states", "lr_schedulers", "loops"))
    if not complete or not _is_log_state(log_state):
        raise CheckpointError(f"{last}: cannot be resumed, or is from another version of this project")
    _check_optimizer_state(content["optimizer_states"], list(module.parameters()), last)
    trained = content["epoch"] + 1
    _check_best(best, best_content, content, log_state["best_epoch"])
    if trained > config.trainer.max_epochs:
        raise ConfigError(f"trainer.max_epochs={config.trainer.max_epochs}: this run has {trained} epochs already")
    return last


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


def _check_best(best: Path, content: dict[str, Any] | None, last: dict[str, Any], best_epoch: int | None) -> None:
    """Raise CheckpointError if best.ckpt is not the one that the run saved in its best epoch."""
    if best_epoch is None:
        return
    if content is None:
        raise CheckpointError(f"{best}: is missing, so this run cannot continue")
    epochs = (best_epoch, last["epoch"] + 2)  # it may have been killed in the next epoch, which is trained again
    if content.get("epoch", -1) + 1 not in epochs or not _same_training(content.get(CONFIG_KEY), last[CONFIG_KEY]):
        raise CheckpointError(f"{best}: is not from this run, or not from its best epoch, {best_epoch}")


def _same_training(one: Any, other: dict[str, Any]) -> bool:
    """Are two saved configs the same but for their trainer, whose limits a resumption may have raised?"""
    return isinstance(one, dict) and {**one, "trainer": None} == {**other, "trainer": None}


def _refuse_other_data(record: dict[str, Any], dataset: Dataset) -> None:
    """Raise CheckpointError if a run would continue on other images than those it began with."""
    now, before = dataset.record(), record.get("dataset")
    before = before if isinstance(before, dict) else {}
    files = before.get("files") if isinstance(before.get("files"), dict) else {}
    changed = [name for name, digest in files.items() if now["files"].get(name, digest) != digest]
    changed += [name for name in ("train", "val") if before.get(name, now.get(name)) != now.get(name)]
    if changed:
        raise CheckpointError(f"data={dataset.name}: not the data that this run began with: {changed[0]} has changed")


def _check_optimizer_state(states: Any, weights: list[nn.Parameter], path: Path) -> None:
    """Raise CheckpointError if an optimizer's state does not fit the weights: a fused step would read beyond it."""
    numbers = list(range(len(weights)))
    try:
        (state,) = states
        grouped = [number for group in state["param_groups"] for number in group["params"]]
        fits = grouped == numbers == sorted(state["state"]) and all(
            isinstance(value, Tensor) and value.is_floating_point() and value.shape in (weights[number].shape, ())
            for number in numbers
            for value in state["state"][number].values()
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        fits = False
    if not fits:
        raise CheckpointError(f"{path}: its optimizer's state does not fit the network")
