"""All programs under one name, for the installed package.

  capsnet train data=kmnist_7k       train a network
  capsnet evaluate run=RUN_DIR       score it on the test images
  capsnet predict RUN_DIR FILE       classify pictures
  capsnet compare RUN_DIR RUN_DIR    one table and one picture of several runs
  capsnet explore RUN_DIR            look at a network's capsules in the browser
  capsnet export RUN_DIR             write a network to ONNX
  capsnet runs                       list runs and sweeps

`capsnet PROGRAM --help` says more about each. In the project's tree, `python train.py` is the same as `capsnet train`.
"""

import difflib
import sys
from importlib import import_module

from capsnet.cli.program import run_program
from capsnet.errors import ConfigError
from capsnet.text import either

PROGRAMS = {
    "train": "capsnet.cli.train",
    "evaluate": "capsnet.cli.evaluate",
    "predict": "capsnet.predict",
    "compare": "capsnet.compare",
    "explore": "capsnet.explore",
    "export": "capsnet.export",
    "runs": "capsnet.runs.__main__",
}
"""The module of each program; its function `main` reads `sys.argv`."""


def main() -> None:
    run_program(_start)


def _start() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip())
        return
    program = sys.argv[1]
    if program not in PROGRAMS:
        near = difflib.get_close_matches(program, PROGRAMS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose {either(PROGRAMS)}"
        raise ConfigError(f"capsnet {program}: no such program; {hint}")
    sys.argv[:2] = [f"capsnet {program}"]
    import_module(PROGRAMS[program]).main()


if __name__ == "__main__":
    main()
