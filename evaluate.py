"""Score a trained network, or several together, on the test images: accuracy, confusion, robustness and figures.

`capsnet evaluate`, of the installed package, is the same program.
"""

from capsnet.cli.evaluate import main
from capsnet.cli.program import run_program

if __name__ == "__main__":
    run_program(main)
