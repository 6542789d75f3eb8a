"""Put a run into the project, as a model that comes with it.

  python -m capsnet.shipped RUN NAME

Of the best checkpoint, the weights are kept, in half precision. What the record says of the test is measured again
with them. An earlier model of that name is replaced.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from capsnet.cli.program import run_program, start_logging
from capsnet.cli.run_parser import RunParser
from capsnet.errors import ConfigError, DataError
from capsnet.runs.folder import BEST_CHECKPOINT, METRICS_FILE
from capsnet.runs.measures import column_of
from capsnet.runs.record import read_record, recorded_metrics, write_record
from capsnet.runs.shipped import FOLDER


def main() -> None:
    parser = RunParser("capsnet.shipped", __doc__, settings=())
    parser.add_argument("name", metavar="NAME")
    arguments = parser.parse(sys.argv[1:])
    if not re.fullmatch(r"[a-z0-9_]+", arguments.name):
        raise ConfigError(f"{arguments.name!r}: a model's name consists of lower-case letters, digits and _")
    start_logging()
    target = FOLDER / arguments.name
    with tempfile.TemporaryDirectory() as folder:
        tested = pack(arguments.run, Path(folder))
        shutil.copytree(folder, target, dirs_exist_ok=True)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.2f} MB, {tested}")


def pack(run: Path, target: Path) -> str:
    """Write what a model needs, from a run's folder to another folder. Raises DataError without test images.

    Returns:
        How good it is, such as "test accuracy 97.10%".
    """
    from capsnet.reports.evaluation import test_batches
    from capsnet.reports.scores import score
    from capsnet.runs.checkpoints import CONFIG_KEY, DATASET_KEY, NETWORK_PREFIX, PLUGIN_KEY, read_checkpoint
    from capsnet.runs.opened import open_run, tested_of
    from capsnet.settings.config import build_loss, build_metrics
    from capsnet.training.checkpoint_io import AtomicCheckpointIO

    content = read_checkpoint(run / BEST_CHECKPOINT)
    described = ("epoch", CONFIG_KEY, DATASET_KEY, PLUGIN_KEY)
    kept: dict[str, Any] = {key: content[key] for key in described if key in content}
    kept["state_dict"] = {
        name: weight.half() if weight.is_floating_point() else weight
        for name, weight in content["state_dict"].items()
        if name.startswith(NETWORK_PREFIX)
    }
    AtomicCheckpointIO().save_checkpoint(kept, target / BEST_CHECKPOINT)
    shutil.copy(run / METRICS_FILE, target)
    opened = open_run(target)
    if opened.test_images is None:
        raise DataError(opened.why_no_test_images)
    config, model, network = opened.config, opened.model, opened.model.network
    task = config.task.build()
    batches = test_batches(network, opened.dataset, task)
    scores = score(network, batches, task, build_loss(config.loss), task.metrics(build_metrics(config)))
    report = task.report(scores.tested(batches, model.class_names, network))
    numbers = {name: value for name, value in (report | scores.measured).items() if isinstance(value, float)}
    tested = {f"test/{name}": value for name, value in numbers.items()}
    record = {key: value for key, value in read_record(run).items() if not key.startswith("test_")}
    kept_metrics = {name: value for name, value in recorded_metrics(record).items() if not name.startswith("test/")}
    beside = {column_of(name): value for name, value in tested.items()}
    write_record(target, record | {"metrics": kept_metrics | tested} | beside)
    return tested_of(target)


if __name__ == "__main__":
    run_program(main)
