"""Score a trained network on its test images: accuracy, confusion and figures, from a run's own checkpoint."""

import capsnet.cli.loading  # noqa: F401 (must come first)

# isort: split

import sys

from capsnet.cli.help import evaluate_help
from capsnet.cli.program import run_program, start_logging
from capsnet.errors import ConfigError
from capsnet.settings.parse import parse_values
from capsnet.settings.plugins import load_plugin


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"--help", "-h"} & set(arguments):
        print(evaluate_help())
        return
    settings = parse_values(arguments)
    run, checkpoint = settings.pop("run", None), settings.pop("checkpoint", None)
    if (run is None) == (checkpoint is None):
        raise ConfigError("give either run=RUN_DIR or checkpoint=FILE")
    if plugin := settings.get("plugin"):
        load_plugin(plugin)
    # These load torch, so only if the arguments are right.
    from capsnet.reports.evaluation import evaluate_checkpoint, find_checkpoint
    from capsnet.reports.terminal import evaluation_summary

    start_logging()
    report = evaluate_checkpoint(*find_checkpoint(run, checkpoint), settings)
    print(evaluation_summary(report))


if __name__ == "__main__":
    run_program(main)
