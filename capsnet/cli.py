"""What the two programs share: errors for the person at the terminal in one line, with exit code 2."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from .compose import config_from_omegaconf, one_line, quoted
from .config import Config
from .errors import CapsNetError, printable
from .results import alone_in, new_folder, refuse_links, refuse_used, started_with_others

USAGE_ERROR = 2
LAUNCHERS = {"joblib": "hydra-joblib-launcher", "submitit_slurm": "hydra-submitit-launcher"}
"""Options of hydra/launcher that come with an optional package."""
INTERRUPTED = 130

_FULL_ERROR = "HYDRA_FULL_ERROR"
_wants_traceback = os.environ.get(_FULL_ERROR, "0") not in ("", "0")


def register_schema() -> None:
    """Make `Config` known to Hydra under the name that `configs/config.yaml` begins with."""
    ConfigStore.instance().store(name="schema", node=Config)


def run_program(main: Callable[[], Any]) -> None:
    """Run a program's main function, which may be one of Hydra's, as it is run from a terminal."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ[_FULL_ERROR] = "1"  # else Hydra prints errors itself, in several lines, and exits with 1
    try:
        with one_line_errors():
            main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _interrupt(*_: Any) -> None:
    """SIGTERM is answered as Ctrl-C is, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with one line for errors meant for the person; with HYDRA_FULL_ERROR=1, with the traceback."""
    try:
        yield
    except Exception as error:
        message = _message(error)
        if message is None or _wants_traceback:
            raise
        print(f"Error: {printable(message)}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, CapsNetError) else USAGE_ERROR)


def _message(error: Exception) -> str | None:
    """What to tell the person; None for a fault of the program itself, which wants a traceback."""
    if isinstance(error, CapsNetError):
        return str(error)
    if isinstance(error, MissingConfigException):
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        if option in LAUNCHERS:
            return f"{group}: needs another package: pip install {LAUNCHERS[option]}"
        if error.options is None:
            return one_line(error)
        return f"{group}={option}: no such option; there are {', '.join(error.options)}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return one_line(error)
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename or 'a file cannot be written or read'}: {error.strerror}"
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    if innermost.f_globals["__name__"].startswith(("hydra.", "omegaconf.")):  # stumbled over odd arguments
        return f"{' '.join(sys.argv[1:])}: not understood ({error})"
    return None


def config_groups(folder: Path) -> str:
    """The config groups in a folder with their options, a line each."""
    groups = sorted(group for group in folder.iterdir() if group.is_dir() and group.name != "hydra")
    return "\n".join(
        f"{group.name}: {', '.join(sorted(file.stem for file in group.glob('*.yaml')))}" for group in groups
    )


class CheckConfig(Callback):
    """Hydra callback: holds the config against its ranges before a folder is made for the run, which is its alone."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with one_line_errors():
            config_from_omegaconf(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
            if started_with_others():  # this one may join the run of the first
                return
            if _is_given("hydra.run.dir", config):
                folder = Path(config.hydra.run.dir)
                refuse_used(folder)
                refuse_links(folder)
                folder.mkdir(parents=True, exist_ok=True)
                self.claim = contextlib.ExitStack()  # until the process ends, so that nobody begins here meanwhile
                self.claim.enter_context(alone_in(folder))
            else:
                folder = new_folder(Path(config.hydra.run.dir))
                with flag_override(config, "readonly", False):
                    config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if _is_given("hydra.sweep.dir", config):
            return
        with one_line_errors():
            folder = new_folder(Path(config.hydra.sweep.dir))
            with flag_override(config, "readonly", False):
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")  # what the jobs are told


def _is_given(key: str, config: DictConfig) -> bool:
    return any(override.lstrip("+").startswith(f"{key}=") for override in config.hydra.overrides.hydra)
