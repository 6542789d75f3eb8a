"""Score a trained CapsNet on its test images: accuracy, confusion and figures, from a run's own checkpoint."""

import logging
import sys
from pathlib import Path

from capsnet.cli import config_groups, run_program
from capsnet.compose import parse_values
from capsnet.errors import ConfigError

HELP = """\
Score a trained CapsNet on the test images of its dataset; write evaluation.json and figures/.

  python evaluate.py run=RUN_DIR              the best checkpoint of a run
  python evaluate.py checkpoint=FILE          this checkpoint

Model and data are rebuilt from the config in the checkpoint. Any of its values can be replaced:

  data.root=FOLDER    where the images are
  data.name=NAME      another dataset with as many classes
  routing.iters=3     more or fewer routing iterations

The config groups that a run was composed of, by train.py:

"""


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"--help", "-h"} & set(arguments):
        print(HELP + config_groups(Path(__file__).with_name("configs")))
        return
    values = parse_values(arguments)
    run, checkpoint = values.pop("run", None), values.pop("checkpoint", None)
    if (run is None) == (checkpoint is None):
        raise ConfigError("give either run=RUN_DIR or checkpoint=FILE")
    # These bring torch: only once the arguments are right.
    from capsnet.evaluation import evaluate_checkpoint, find_checkpoint
    from capsnet.terminal import evaluation_summary

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    report = evaluate_checkpoint(*find_checkpoint(run, checkpoint), values)
    print(evaluation_summary(report))


if __name__ == "__main__":
    run_program(main)
