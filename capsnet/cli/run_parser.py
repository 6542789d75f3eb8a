"""Arguments of the programs that Hydra does not configure, most of which begin with a run: `RUN [options]`."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import ConfigError
from ..runs.shipped import find_run


class Parser(argparse.ArgumentParser):
    """Reads arguments, and ends in one line if they are wrong.

    Args:
        module: the program's.
        text: its help.
    """

    def __init__(self, module: str, text: str):
        super().__init__(add_help=False, allow_abbrev=False)
        self.module, self.text = module, text.strip()

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (python -m {self.module} --help says more)")

    def parse(self, given: Sequence[str]) -> argparse.Namespace:
        """The arguments. Raises ConfigError if one is unknown, missing, or not valid."""
        if {"-h", "--help"} & set(given):
            print(self.text)
            sys.exit(0)
        return self.parse_args(given)


class RunParser(Parser):
    """Reads the arguments of `python -m MODULE RUN ...`.

    Args:
        module, text: see `Parser`.
        settings: dotted keys of settings that may be given as KEY=VALUE, in the form of train.py.
        default: the run, if none is named. None: then the help is shown.
    """

    def __init__(self, module: str, text: str, settings: Sequence[str] = ("plugin",), default: str | None = None):
        super().__init__(module, text)
        self.settings, self.default = settings, default
        self.add_argument("run", metavar="RUN", nargs=None if default is None else "?", default=default)

    def parse(self, given: Sequence[str]) -> argparse.Namespace:
        """The arguments; `run` is a path. Settings are named by the last part of their key, None if not given.

        Raises:
            CheckpointError: there is no such run.
            ConfigError: an argument is unknown, missing, or not valid.
        """
        settings = [argument for argument in given if argument.split("=")[0] in self.settings and "=" in argument]
        others = [argument for argument in given if argument not in settings]
        arguments = super().parse(others if given or self.default else ["--help"])
        values = dict(setting.split("=", 1) for setting in settings)
        for key in self.settings:
            setattr(arguments, key.rpartition(".")[2], values.get(key))
        arguments.run = find_run(arguments.run)
        return arguments
