"""Going on with an interrupted run or sweep, in its own folder and by its own config."""

import dataclasses
import logging
import re
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from .compose import config_from_dict, parse_values, quoted
from .config import Config
from .errors import CheckpointError, ConfigError, on_one_line
from .results import LAST_CHECKPOINT, RunResults, read_record, recorded_overrides, refuse_links
from .sweep import swept_values

SWEEP_FILE = "multirun.yaml"  # Hydra's, in a sweep's folder
LONGER = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
WHERE = (
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.compile"),
    *("trainer.enable_progress_bar", "trainer.profiler", "data.root", "data.download", "data.mirror"),
)
"""Settings that may change on resuming, beside LONGER: they say where to train, not what."""
SETTING = re.compile(r"[+~]*([A-Za-z_]\w*)(\.\w+)*(=|$)")


def folder_named(word: str, arguments: list[str]) -> tuple[Path, list[str]] | None:
    """The folder that `WORD=` names and the other arguments; None where it is not among them."""
    named = [argument for argument in arguments if argument.startswith(f"{word}=")]
    if not named:
        return None
    value = parse_values(named)[word]
    folder = Path(value or "")
    if not value or not folder.is_dir():
        raise CheckpointError(f"{named[-1]}: there is no such folder")
    return folder, [argument for argument in arguments if argument not in named]


def resume_run(run_dir: Path, overrides: dict[str, str | None]) -> RunResults:
    """Go on with a run from its last checkpoint, or from the start where it has none yet.

    Args:
        run_dir: the run's folder.
        overrides: settings by dotted key that replace the run's own, such as a higher `trainer.max_epochs`.

    Raises:
        CheckpointError: there is no run, its record or its checkpoint is damaged, or it is complete.
        ConfigError: an override is not valid, or would make it another run.
    """
    refuse_links(run_dir)
    record = read_record(run_dir)
    for key in overrides:
        if key not in (*LONGER, *WHERE):
            raise ConfigError(f"{key}: cannot change in the middle of a run; start another one")
    before = config_of(run_dir)
    config = config_from_dict(dataclasses.asdict(before), overrides, origin=str(run_dir))
    longer = config.trainer.max_epochs > before.trainer.max_epochs or set(overrides) & set(LONGER[1:])
    if record["status"] == "completed" and not longer:
        raise CheckpointError(
            f"{run_dir}: is complete after {record.get('epochs')} epochs; to go on, give a higher trainer.max_epochs"
        )
    log_to(run_dir)
    from .training import train  # brings torch: only once all is known to be right

    earlier = recorded_overrides(record)
    asked = earlier + [f"{key}={value}" for key, value in overrides.items()]
    return train(config, run_dir, asked, resume=True, swept=swept_values(run_dir, earlier))


def config_of(run_dir: Path) -> Config:
    """From the last checkpoint, which knows what earlier resumptions changed; else what Hydra wrote at the start."""
    if (run_dir / LAST_CHECKPOINT).exists():
        from .checkpoint import load_checkpoint

        return load_checkpoint(run_dir / LAST_CHECKPOINT)[0]
    path = run_dir / ".hydra" / "config.yaml"
    try:
        saved: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException, ValueError) as error:
        reason = on_one_line(error)
        raise CheckpointError(f"{run_dir}: has neither a checkpoint nor a readable config ({reason})") from error
    if not isinstance(saved, dict):
        raise CheckpointError(f"{path}: not a run's config")
    return config_from_dict(saved, origin=str(path))


def log_to(run_dir: Path) -> None:
    """Log to the terminal, and with the time to the run's train.log, as configs/hydra/job_logging/lines.yaml has it."""
    console, file = logging.StreamHandler(sys.stdout), logging.FileHandler(run_dir / "train.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[console, file])


def sweep_arguments(folder: Path, others: list[str]) -> list[str]:
    """The arguments of train.py that go on with a sweep: its own overrides, and its folder.

    Only what chooses settings is taken from the folder, nothing that chooses code: launcher and sweeper, and whatever
    else is Hydra's, are those of the present command line.

    Raises:
        CheckpointError: the folder's record of the sweep is damaged, or asks for more than settings.
        ConfigError: another setting is given, beside those of the sweep.
    """
    task = planned(folder)
    for override in task:
        if not _is_setting(override):
            raise CheckpointError(
                f"{folder / SWEEP_FILE}: {override}: refused, a sweep's record may hold settings only"
            )
    for override in others:
        if not override.lstrip("+~").startswith("hydra"):
            raise ConfigError(f"{override}: cannot change in the middle of a sweep; start another one")
    return ["--multirun", *task, *others, f"hydra.sweep.dir={quoted(str(folder.absolute()))}"]


def planned(folder: Path) -> list[str]:
    """The overrides that a sweep was started with, Hydra's own aside. Raises CheckpointError."""
    path = folder / SWEEP_FILE
    try:
        task = OmegaConf.to_container(OmegaConf.load(path).hydra.overrides.task, resolve=False)
    except (OSError, YAMLError, OmegaConfBaseException, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not the record of a sweep ({on_one_line(error)})") from error
    if not isinstance(task, list):
        raise CheckpointError(f"{path}: not the record of a sweep")
    return list(map(str, task))


def _is_setting(override: str) -> bool:
    """Is it an override of a key of ours, or of one of our groups by the name of an option?"""
    found = SETTING.match(override)
    known = {entry.name for entry in dataclasses.fields(Config)} | {"experiment", "sweep"}
    if found is None or found[1] not in known or "_target_" in override or "${" in override:
        return False
    names_option = found[2] is None  # which is the name of a file
    return not (names_option and "/" in override)
