"""List runs and sweeps: name, network, data, best metric, status.

  capsnet runs [FOLDER]     those in a folder and below it; outputs/ if you do not say

  --tag WORD                only those that were trained with this tag, as by tags=[WORD]

The newest comes last. `python -m capsnet.runs` is the same.
"""

import sys
from pathlib import Path

from capsnet.cli.program import run_program
from capsnet.cli.run_parser import Parser
from capsnet.errors import CheckpointError
from capsnet.runs.listing import entries, table


def main() -> None:
    parser = Parser("capsnet.runs", __doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("outputs"))
    parser.add_argument("--tag")
    asked = parser.parse(sys.argv[1:])
    if not asked.folder.is_dir():
        raise CheckpointError(f"{asked.folder}: there is no such folder")
    found = entries(asked.folder, asked.tag)
    if not found:
        tagged = f" with the tag {asked.tag}" if asked.tag else ""
        raise CheckpointError(f"{asked.folder}: has no runs{tagged}")
    print(table(found))


if __name__ == "__main__":
    run_program(main)
