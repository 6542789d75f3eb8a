"""A further process of a training on one machine. Its standard input tells it what to train.

    python -m capsnet.training.further_process      started by capsnet.training.processes, not by hand

It exits when its input closes, because then the process that started it is gone.
"""

import dataclasses
import json
import os
import sys
import threading
from pathlib import Path

from ..settings.foreign import instantiated
from ..settings.parse import config_from_dict
from ..settings.plugins import load_plugin
from .processes import OneMachine
from .run import train


def main() -> None:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_with_input, daemon=True).start()
    if order["plugin"]:
        load_plugin(order["plugin"])
    config = config_from_dict(order["config"])
    callbacks = instantiated(dataclasses.replace(config, logger={}))["callbacks"] if order["callbacks"] else []
    train(
        config,
        Path(order["run_dir"]),
        callbacks=callbacks,
        resume=order["resume"],
        environment=OneMachine(order["local_rank"], order["port"]),
        computing=order["computing"],
    )


def _exit_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
