"""Score a trained network, or several together, on the test images: accuracy, confusion, robustness and figures."""

import sys

from ..settings.plugins import load_plugin
from .arguments import parse_evaluation
from .help import evaluate_help
from .program import start_logging


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"--help", "-h"} & set(arguments):
        print(evaluate_help())
        return
    asked = parse_evaluation(arguments)
    if plugin := asked.settings.get("plugin"):
        load_plugin(plugin)
    # These load torch, so only if the arguments are right.
    from ..reports.ensemble import ensemble_table, evaluate_ensemble
    from ..reports.evaluation import evaluate_checkpoint, find_checkpoint
    from ..reports.robustness import robustness_table
    from ..reports.terminal import evaluation_summary

    start_logging()
    if len(asked.runs) > 1:
        print(ensemble_table(*evaluate_ensemble(asked.runs, asked.settings, asked.shifts)))
        return
    checkpoint, run_dir = find_checkpoint(asked.runs[0] if asked.runs else None, asked.checkpoint)
    evaluation = evaluate_checkpoint(checkpoint, run_dir, asked.settings, asked.robustness, asked.shifts)
    print(evaluation_summary(evaluation.report, evaluation.rows))
    if evaluation.robustness:
        print("", robustness_table(evaluation.robustness, evaluation.metric), sep="\n")
