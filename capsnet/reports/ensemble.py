"""Several networks together: their scores are averaged."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.source import digest
from ..errors import ConfigError
from ..files import write_json
from ..runs.folder import EVALUATION_FILE, new_folder
from ..settings.config import Config, build_loss, leaves, name_of
from ..text import columns, relative, shown
from .averaged_scores import class_scores
from .evaluation import (
    NetworkWithTestImages,
    changed_data,
    find_checkpoint,
    load_with_test_images,
    measure_scores,
    over_shifts,
    test_batches,
)

FOLDER = Path("outputs", "ensembles")
AVERAGING = "each network's scores are divided by their sum over the classes, then averaged over the networks"


def evaluate_ensemble(
    runs: Sequence[Path], overrides: dict[str, str | None], shifts: int = 0
) -> tuple[dict[str, Any], Path]:
    """Score the best checkpoints of several runs together; write evaluation.json into a new folder.

    The scores of a network with logits are softmax probabilities. The lengths of capsules sum to more than one, so
    every network's scores are divided by their sum over the classes: all networks then count the same.

    Args:
        runs: their folders, two or more.
        overrides: settings by dotted key that replace those of every run.
        shifts: also average all scores over shifts by up to so many pixels; 0: do not.

    Returns:
        The content of evaluation.json, and its path.

    Raises:
        CheckpointError: a run has no checkpoint, or it is damaged or does not fit the dataset.
        ConfigError: the runs have other test images or classes than the first one, or an override is wrong.
    """
    networks = []
    for run in runs:
        checkpoint, _ = find_checkpoint(run, None)
        networks.append(load_with_test_images(checkpoint, overrides))
        _refuse_other_images(networks[0], runs[0], networks[-1], run)
    members: list[dict[str, Any]] = []
    sums: dict[int, Tensor] = {}
    for run, member in zip(runs, networks, strict=True):
        described = {
            "run": str(run),
            "epoch": member.epoch,
            "model": name_of("model", member.config.model),
            "differences": changed_data(member),
        }
        for pixels in (0, shifts) if shifts else (0,):
            scores = _shares(member, run, pixels)
            sums[pixels] = sums[pixels] + scores if pixels in sums else scores
            measured = _measured(member, scores)
            described |= {"shifts": over_shifts(pixels, measured)} if pixels else _numbers(measured)
        members.append(described)
    first = networks[0]
    report = {
        "averaging": AVERAGING,
        "dataset": {
            "name": first.dataset.name,
            "official": first.dataset.official,
            "test": len(sums[0]),
        },
        "monitor": first.config.task.monitor,
        "members": members,
        **_measured(first, sums[0]),
        **({"shifts": over_shifts(shifts, _measured(first, sums[shifts]))} if shifts else {}),
    }
    path = new_folder(FOLDER / time.strftime("%Y-%m-%d_%H-%M-%S")) / EVALUATION_FILE
    write_json(path, report)
    return report, path


def ensemble_table(report: dict[str, Any], path: Path) -> str:
    """Each member and the ensemble, as a person reads them."""
    rows = [*((relative(Path(member["run"])), member) for member in report["members"])]
    rows.append((f"all {len(rows)} together", report))
    metric = report["monitor"]
    heads = ["", metric, *([f"over {report['shifts']['passes']} shifts"] if "shifts" in report else [])]
    cells = [
        [name, shown(metric, of[metric]), *([shown(metric, of["shifts"][metric])] if "shifts" in of else [])]
        for name, of in rows
    ]
    return f"{columns([heads, *cells])}\n\n  written to  {relative(path)}"


def _refuse_other_images(
    first: NetworkWithTestImages, first_run: Path, member: NetworkWithTestImages, run: Path
) -> None:
    """Raise ConfigError if a member is tested on other images, or counts other classes, than the first one."""
    if member.dataset.class_names != first.dataset.class_names:
        raise ConfigError(f"{run}: its classes are not those of {first_run}")
    if digest(member.dataset.read_test_images()) != digest(first.dataset.read_test_images()):
        raise ConfigError(f"{run}: its test images are not those of {first_run}")
    own, wanted = (_tested_task(one.config) for one in (member, first))
    if differing := [key for key in own | wanted if own.get(key) != wanted.get(key)]:
        key = differing[0]
        raise ConfigError(f"{run}: has {key}={own.get(key)}, but {first_run} {wanted.get(key)}")


def _tested_task(config: Config) -> dict[str, Any]:
    """What of the task's settings the test depends on."""
    return {key: value for key, value, setting in leaves(config) if key.startswith("task.") and setting.evaluated}


def _shares(member: NetworkWithTestImages, run: Path, shifts: int) -> Tensor:
    """A member's scores, each image's summing to one, [n, classes]. Raises ConfigError if that cannot be."""
    task = member.config.task.build()
    batches = test_batches(member.network, member.dataset, task)
    scores = class_scores(member.network, batches, task, build_loss(member.config.loss).logits, shifts)
    if not bool((scores >= 0).all()):
        raise ConfigError(f"{run}: its scores are neither probabilities nor lengths, so they cannot be averaged")
    return scores / scores.sum(dim=1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)


def _measured(member: NetworkWithTestImages, scores: Tensor) -> dict[str, Any]:
    """The metrics of scores, and what the task reports."""
    task = member.config.task.build()
    batches = test_batches(member.network, member.dataset, task)
    return measure_scores(scores, batches, task, member.config, member.dataset.class_names)


def _numbers(measured: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in measured.items() if isinstance(value, float)}
