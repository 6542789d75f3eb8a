"""Score a trained CapsNet on its test images: accuracy, confusion and figures, from a run's own checkpoint."""

import logging
import sys
from pathlib import Path

from capsnet.cli import run_program
from capsnet.compose import parse_values
from capsnet.errors import ConfigError

HELP = """\
Score a trained CapsNet on the test images of its dataset; write evaluation.json and figures/.

  python evaluate.py run=RUN_DIR              the best checkpoint of a run
  python evaluate.py checkpoint=FILE          this checkpoint

Model and data are rebuilt from the config in the checkpoint. Any of its values can be replaced:

  data.root=FOLDER    where the images are        data.name=kmnist|mnist|fashion_mnist|digits
  routing.iters=3     route more or less          data.download=false

python train.py --help lists the config groups and the other keys.
"""


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or {"--help", "-h"} & set(arguments):
        print(HELP, end="")
        return
    values = parse_values(arguments)
    run, checkpoint = values.pop("run", None), values.pop("checkpoint", None)
    if (run is None) == (checkpoint is None):
        raise ConfigError("give either run=RUN_DIR or checkpoint=FILE")
    from capsnet.evaluation import evaluate_checkpoint, summary  # bring torch: only once the arguments are right

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    report = evaluate_checkpoint(*find_checkpoint(run, checkpoint), values)
    print(summary(report))


def find_checkpoint(run: str | None, checkpoint: str | None) -> tuple[Path, Path]:
    """The checkpoint that is meant, and the folder that its report belongs to."""
    if run is not None:
        return Path(run, "checkpoints", "best.ckpt"), Path(run)
    assert checkpoint is not None
    folder = Path(checkpoint).parent
    return Path(checkpoint), folder.parent if folder.name == "checkpoints" else folder


if __name__ == "__main__":
    run_program(main)
