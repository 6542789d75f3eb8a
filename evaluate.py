"""Score a trained network on its test images: accuracy, confusion, robustness and figures, from a run's checkpoint."""

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
    robustness = settings.pop("robustness", "false")
    if (run is None) == (checkpoint is None):
        raise ConfigError("give either run=RUN_DIR or checkpoint=FILE")
    if robustness not in ("true", "false"):
        raise ConfigError(f"robustness={robustness}: must be true or false")
    if plugin := settings.get("plugin"):
        load_plugin(plugin)
    # These load torch, so only if the arguments are right.
    from capsnet.reports.evaluation import evaluate_checkpoint, find_checkpoint
    from capsnet.reports.robustness import robustness_table
    from capsnet.reports.terminal import evaluation_summary

    start_logging()
    evaluation = evaluate_checkpoint(*find_checkpoint(run, checkpoint), settings, robustness == "true")
    print(evaluation_summary(evaluation.report))
    if evaluation.robustness:
        print("", robustness_table(evaluation.robustness), sep="\n")


if __name__ == "__main__":
    run_program(main)
