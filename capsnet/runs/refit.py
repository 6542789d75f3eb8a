"""Training again on all training images, the validation images included, as a run's validation chose."""

from pathlib import Path

from ..errors import CheckpointError
from ..settings.config import Config, as_dict
from ..settings.parse import config_from_dict
from .measures import monitored
from .record import completed_record, recorded_overrides
from .result import read_result
from .resume import refuse_changes, refuse_other_optimizer
from .saved_config import saved_config

ONLY_WITH_VALIDATION = (
    *("early_stopping.patience", "trainer.check_val_every_n_epoch", "trainer.val_check_interval"),
    *("trainer.limit_val_batches", "trainer.min_epochs"),
)
LIMITS = ("trainer.max_steps", "trainer.min_steps", "trainer.max_time")  # more images take more


def refitting(run_dir: Path, overrides: dict[str, str | None]) -> tuple[Config, list[str]]:
    """What to train on all training images: a completed run's config, and its overrides with those that make it so.

    Validation has chosen the number of epochs: the best one of a learning rate that goes on falling, but all epochs of
    one that ends with the training. A warm-up is always trained to its end; limits in steps and time are dropped.

    Args:
        run_dir: the run's folder.
        overrides: settings by dotted key that do not change what is trained, such as `data.root`.

    Raises:
        CheckpointError: there is no completed run with validation images, its record or checkpoint is damaged, or it
            stopped before its schedule's last epoch.
        ConfigError: an override is not valid, or would change what is trained.
    """
    record = completed_record(run_dir)
    before, config = saved_config(run_dir, overrides)
    refuse_changes(before, config, may_extend=False)
    refuse_other_optimizer(record, config)
    if before.data.val_size == 0:
        raise CheckpointError(f"{run_dir}: had no validation images to choose by, so it has used all images already")
    if monitored(read_result(run_dir)) is None:
        raise CheckpointError(f"{run_dir}: was not validated (trainer.limit_val_batches), so nothing was chosen")
    ends_with_training = before.optimizer.ends_with_training
    if ends_with_training and record["epochs"] < before.trainer.max_epochs:
        raise CheckpointError(
            f"{run_dir}: stopped after {record['epochs']} of {before.trainer.max_epochs} epochs, before the end of"
            " its learning rate's schedule; choose the number yourself: data.val_size=0 trainer.max_epochs=N"
        )
    epochs = before.trainer.max_epochs if ends_with_training else record["best_epoch"]
    epochs = max(epochs, before.optimizer.warmup_epochs)
    unset = dict.fromkeys(ONLY_WITH_VALIDATION + LIMITS)
    changes = {"data.val_size": "0", "trainer.max_epochs": str(epochs), **unset}
    config = config_from_dict(as_dict(before), overrides | changes, origin=str(run_dir))
    changed = {"data.val_size": 0, "trainer.max_epochs": epochs}
    added = [f"{key}={value}" for key, value in (overrides | changed).items()]
    return config, recorded_overrides(record) + added
