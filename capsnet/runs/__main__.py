"""List runs and sweeps: name, network, data, best metric, status.

  capsnet runs [FOLDER]     those in a folder and below it; outputs/ if you do not say

  --tag WORD                only those that were trained with this tag, as by tags=[WORD]

The newest comes last. `python -m capsnet.runs` is the same.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from capsnet.cli.program import run_program
from capsnet.errors import CheckpointError, ConfigError
from capsnet.runs.listing import entries, table


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (capsnet runs --help says more)")


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__.strip())
        return
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("outputs"))
    parser.add_argument("--tag")
    asked = parser.parse_args(sys.argv[1:])
    if not asked.folder.is_dir():
        raise CheckpointError(f"{asked.folder}: there is no such folder")
    found = entries(asked.folder, asked.tag)
    if not found:
        tagged = f" with the tag {asked.tag}" if asked.tag else ""
        raise CheckpointError(f"{asked.folder}: has no runs{tagged}")
    print(table(found))


if __name__ == "__main__":
    run_program(main)
