"""Compare runs: one table and one picture, with learning curves and, where it was measured, robustness.

python -m capsnet.compare FOLDER...    of runs or sweeps, or above them; a sweep's jobs are averaged over seeds

Each network is labelled by what tells it from the others. The table and the picture go to a new folder,
outputs/comparisons/DATE_TIME. `python evaluate.py run=RUN_DIR robustness=true` measures robustness.
"""

import logging
import sys
import time
from pathlib import Path

from .cli.program import run_program, start_logging
from .errors import CheckpointError
from .runs.folder import RECORD_FILE, new_folder
from .runs.measures import common_monitor
from .runs.result import RunResult, read_result
from .text import printable, relative

log = logging.getLogger(__name__)


def main() -> None:
    if len(sys.argv) < 2 or {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    compare_folders([Path(argument) for argument in sys.argv[1:]])


def compare_folders(folders: list[Path]) -> None:
    """Print the comparison of runs and sweeps, and write it to a new folder.

    Raises:
        CheckpointError: a folder has no run or sweep, none is completed, or a file in it is damaged.
    """
    start_logging()
    runs = _completed(folders)
    # These load torch, so only if there is something to compare.
    from .reports.comparison import PICTURE_FILE, TABLE_FILE, comparison_table, group_and_label, write_comparison
    from .reports.distortions import UNITS

    monitor = common_monitor(runs)
    compared, also = group_and_label(runs, monitor)
    print(comparison_table(compared, monitor))
    if also:
        print(f"\n  they also differ in  {', '.join(map(printable, also))}")
    from .reports import figures  # loads matplotlib, so only if everything is right

    shown = compared[: figures.MOST_NETWORKS]
    picture = figures.comparison(
        {one.label: one.training for one in shown},
        {one.label: one.robustness for one in shown},
        UNITS,
        monitor,
    )
    folder = new_folder(Path("outputs", "comparisons", time.strftime("%Y-%m-%d_%H-%M-%S")))
    write_comparison(folder / TABLE_FILE, compared, monitor)
    figures.save(picture, folder / PICTURE_FILE)
    if len(shown) < len(compared):
        print(f"\n  the picture shows the best {len(shown)} of {len(compared)}")
    print(f"\n  written to  {relative(folder / TABLE_FILE)}, {PICTURE_FILE}")


def _completed(folders: list[Path]) -> list[RunResult]:
    """The completed runs in the folders of runs and sweeps, each once; others are named in the log."""
    completed: dict[Path, RunResult] = {}
    for folder in folders:
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: there is no such folder")
        runs = [record.parent for record in folder.rglob(RECORD_FILE)]
        runs.sort(key=lambda run: (run.parent, len(run.name), run.name))  # jobs of a sweep by number
        if not runs:
            raise CheckpointError(f"{folder}: has no run and no sweep")
        for run in runs:
            result = read_result(run)
            if result.status == "unreadable":
                raise CheckpointError(str(result.reason))
            if result.status != "completed":
                log.warning("%s: %s, and left out", run, result.status)
                continue
            completed[run.resolve()] = result
    if not completed:
        raise CheckpointError(f"{', '.join(map(str, folders))}: no completed run to compare")
    return list(completed.values())


if __name__ == "__main__":
    run_program(main)
