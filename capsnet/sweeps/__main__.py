"""Write the tables and picture of a sweep again, from the folders of its jobs.

python -m capsnet.sweeps DIR      writes DIR/sweep.csv, summary.csv and sweep.png, and prints the table
"""

import sys
from pathlib import Path

from ..cli.program import run_program
from .summary import summarize


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if len(sys.argv) == 2 else 2)
    run_program(lambda: print(summarize(Path(sys.argv[1]))))


main()
