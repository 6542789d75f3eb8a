"""A further process of a training on one machine: reads from its input what it is to train, and trains it.

    python -m capsnet.further_process      started by capsnet.processes, not by hand

It ends when its input does, which is when the process that started it is gone.
"""

import json
import os
import sys
import threading
from pathlib import Path

from .compose import config_from_dict
from .processes import OneMachine
from .training import train


def main() -> None:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    train(
        config_from_dict(order["config"]),
        Path(order["run_dir"]),
        resume=order["resume"],
        environment=OneMachine(order["local_rank"], order["port"]),
    )


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
