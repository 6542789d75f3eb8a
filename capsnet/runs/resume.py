"""Continuing an interrupted run in its own folder, with its own config."""

from pathlib import Path
from typing import Any

from ..errors import CheckpointError, ConfigError
from ..settings.config import Config, leaves
from .folder import LAST_CHECKPOINT, METRICS_FILE
from .metrics import read_metrics
from .record import read_record, recorded_overrides
from .saved_config import saved_config


def resumed(run_dir: Path, overrides: dict[str, str | None]) -> tuple[Config, list[str]]:
    """What to train to continue a run: its config, and its overrides together with the new ones.

    Args:
        run_dir: the run's folder.
        overrides: settings by dotted key that replace the run's own, such as a higher `trainer.max_epochs`.

    Raises:
        CheckpointError: there is no run, its record or checkpoint is damaged, or it is already complete.
        ConfigError: an override is not valid, or would make it another run.
    """
    record = read_record(run_dir)
    before, config = saved_config(run_dir, overrides)
    given = recorded_overrides(record) + [f"{key}={value}" for key, value in overrides.items()]
    refuse_changes(before, config, may_extend=True)
    refuse_other_optimizer(record, config)
    if record["status"] != "completed":
        return config, given
    if not (run_dir / LAST_CHECKPOINT).exists():
        raise CheckpointError(f"{run_dir}: has no {LAST_CHECKPOINT} to go on from; begin a new run with init={run_dir}")
    reached = _reached(run_dir, record["epochs"], before)
    if not (raised := _raised(before, config)) or not raised >= reached:
        higher, epochs = " and ".join(sorted(reached)) or "trainer.max_epochs", record["epochs"]
        raise CheckpointError(f"{run_dir}: is complete after {epochs} epochs; to go on, set a higher {higher}")
    return config, given


def refuse_changes(before: Config, after: Config, may_extend: bool) -> None:
    """Raise ConfigError if a run would be trained with another setting than before.

    Args:
        before: the run's config.
        after: the one to train with now.
        may_extend: a higher limit, such as `trainer.max_epochs`, is allowed.
    """
    earlier = {key: value for key, value, _ in leaves(before)}
    for key, value, setting in leaves(after):
        if setting.trained and not (may_extend and setting.extends) and value != earlier.get(key):
            raise ConfigError(f"{key}={value}: cannot change in this run (was {earlier.get(key)}); start a new run")
    epochs = after.trainer.max_epochs
    if epochs != before.trainer.max_epochs and after.optimizer.ends_with_training:
        raise ConfigError(
            f"trainer.max_epochs={epochs}: cannot change in this run, whose learning rate is planned to end after"
            f" {before.trainer.max_epochs} epochs; start a new run"
        )


def refuse_other_optimizer(record: dict[str, Any], config: Config) -> None:
    """Raise ConfigError if another class is named than the one of torch's that a run was trained with."""
    before = ((record["config"] or {}).get("optimizer") or {}).get("_target_")
    target = getattr(config.optimizer, "_target_", None)
    if before is not None and target not in (None, before):
        raise ConfigError(f"optimizer._target_={target}: cannot change in this run (was {before}); start a new run")


def _reached(run_dir: Path, epochs: int, config: Config) -> set[str]:
    """The limits that have ended a run; none if a time, early stopping or a callback has."""
    (steps,) = read_metrics(run_dir / METRICS_FILE).get("step", [])[-1:] or [0]
    limits = {"max_epochs": (epochs, config.trainer.max_epochs), "max_steps": (steps, config.trainer.max_steps)}
    return {f"trainer.{key}" for key, (done, limit) in limits.items() if limit is not None and done >= limit}


def _raised(before: Config, after: Config) -> set[str]:
    """The limits that let a run train longer than before."""
    earlier = {key: value for key, value, _ in leaves(before)}
    changed = {key for key, value, setting in leaves(after) if setting.extends and value != earlier[key]}
    return changed if after.trainer.max_epochs > before.trainer.max_epochs else changed - {"trainer.max_epochs"}
