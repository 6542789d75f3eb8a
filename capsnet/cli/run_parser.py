"""Arguments of the programs that look at one run: `RUN [options] plugin=FILE.py`."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import ConfigError
from ..runs.shipped import find_run


class RunParser(argparse.ArgumentParser):
    """Reads the arguments of `python -m MODULE RUN ...`.

    Args:
        module: the program's.
        text: its help.
        settings: dotted keys of settings that may be given as KEY=VALUE, in the form of train.py.
        default: the run, if none is named. None: then the help is shown.
    """

    def __init__(self, module: str, text: str, settings: Sequence[str] = ("plugin",), default: str | None = None):
        super().__init__(add_help=False, allow_abbrev=False)
        self.module, self.text, self.settings, self.default = module, text.strip(), settings, default
        self.add_argument("run", metavar="RUN", nargs=None if default is None else "?", default=default)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (python -m {self.module} --help says more)")

    def parse(self, given: Sequence[str]) -> argparse.Namespace:
        """The arguments; `run` is a path. Settings are named by the last part of their key, None if not given.

        Raises:
            CheckpointError: there is no such run.
            ConfigError: an argument is unknown, missing, or not valid.
        """
        if {"-h", "--help"} & set(given) or not (given or self.default):
            print(self.text)
            sys.exit(0)
        settings = [argument for argument in given if argument.split("=")[0] in self.settings and "=" in argument]
        arguments = self.parse_args([argument for argument in given if argument not in settings])
        values = dict(setting.split("=", 1) for setting in settings)
        for key in self.settings:
            setattr(arguments, key.rpartition(".")[2], values.get(key))
        arguments.run = find_run(arguments.run)
        return arguments
