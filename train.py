"""Train a network: compose the config, train, test the best checkpoint, leave everything in the run's folder.

`capsnet train`, of the installed package, is the same program.
"""

from capsnet.cli.program import run_program
from capsnet.cli.train import main

if __name__ == "__main__":
    run_program(main)
