"""Going on with an interrupted run or sweep, in its own folder and by its own config."""

import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from .compose import config_from_dict, parse_values
from .config import Config
from .errors import CheckpointError, ConfigError, on_one_line
from .results import LAST_CHECKPOINT, RunResults, read_record

SWEEP_FILE = "multirun.yaml"  # Hydra's, in a sweep's folder
WHERE_NOT_WHAT = ("trainer.", "data.root", "data.download", "data.mirror")
"""Settings that may change on resuming: they say where and how long to train, not what."""


def resume_run(run_dir: Path, overrides: dict[str, str | None]) -> RunResults:
    """Go on with a run from its last checkpoint, or from the start where it has none yet.

    Args:
        run_dir: the run's folder.
        overrides: settings by dotted key that replace the run's own, such as a higher `trainer.max_epochs`.

    Raises:
        CheckpointError: there is no run, its record or its checkpoint is damaged, or it is complete.
        ConfigError: an override is not valid, or would make it another run.
    """
    record = read_record(run_dir)
    for key in overrides:
        if not key.startswith(WHERE_NOT_WHAT):
            raise ConfigError(f"{key}: cannot change in the middle of a run; start another one")
    config = _config_of(run_dir, overrides)
    if record["status"] == "completed" and config.trainer.max_epochs <= record.get("epochs", 0):
        raise CheckpointError(
            f"{run_dir}: is complete after {record['epochs']} epochs; to go on, give a higher trainer.max_epochs"
        )
    _log_as_before(run_dir)
    from .training import train  # brings torch: only once all is known to be right

    earlier = [str(override) for override in record.get("overrides") or []]
    return train(config, run_dir, earlier + [f"{key}={value}" for key, value in overrides.items()], resume=True)


def _config_of(run_dir: Path, overrides: dict[str, str | None]) -> Config:
    """From the last checkpoint, which knows what earlier resumptions changed; else what Hydra wrote at the start."""
    if (run_dir / LAST_CHECKPOINT).exists():
        from .checkpoint import load_checkpoint

        return load_checkpoint(run_dir / LAST_CHECKPOINT, overrides)[0]
    path = run_dir / ".hydra" / "config.yaml"
    try:
        saved: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException, ValueError) as error:
        raise CheckpointError(
            f"{run_dir}: has neither a checkpoint nor a readable config ({on_one_line(error)})"
        ) from error
    if not isinstance(saved, dict):
        raise CheckpointError(f"{path}: not a run's config")
    return config_from_dict(saved, overrides, origin=str(path))


def _log_as_before(run_dir: Path) -> None:
    """To the terminal, and with the time to the run's train.log, as configs/hydra/job_logging/lines.yaml has it."""
    console, file = logging.StreamHandler(sys.stdout), logging.FileHandler(run_dir / "train.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[console, file])


def sweep_arguments(folder: Path, others: list[str]) -> list[str]:
    """The arguments of train.py that go on with a sweep: its own overrides, and its folder.

    Only what chooses settings is taken from the folder, nothing that chooses code: launcher and sweeper, and whatever
    else is Hydra's, are those of the present command line.

    Raises:
        CheckpointError: the folder's record of the sweep is damaged, or asks for more than settings.
    """
    path = folder / SWEEP_FILE
    try:
        task = OmegaConf.to_container(OmegaConf.load(path).hydra.overrides.task, resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not the record of a sweep ({on_one_line(error)})") from error
    if not isinstance(task, list):
        raise CheckpointError(f"{path}: not the record of a sweep")
    for override in map(str, task):
        key, _, value = override.partition("=")
        names_option = "." not in key  # of a config group, which is a file's name
        if (
            "hydra" in key
            or "/" in key
            or "_target_" in override
            or "${" in override
            or (names_option and "/" in value)
        ):
            raise CheckpointError(f"{path}: {override}: refused, a sweep's record may hold settings only")
    return ["--multirun", *map(str, task), *others, f"hydra.sweep.dir={quoted(str(folder.absolute()))}"]


def quoted(text: str) -> str:
    """A text as a value in Hydra's grammar of overrides."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def resumption(arguments: list[str]) -> tuple[Path, list[str]] | None:
    """The folder that `resume=` names and the other arguments; None where it is not among them."""
    named = [argument for argument in arguments if argument.startswith("resume=")]
    if not named:
        return None
    folder = Path(parse_values(named)["resume"] or "")
    if not folder.is_dir():
        raise CheckpointError(f"{named[-1]}: there is no such folder")
    return folder, [argument for argument in arguments if argument not in named]
