"""Who started this process, by the environment variables of torchrun and SLURM. Imports no torch."""

import os

from ..errors import ConfigError


def started_by_launcher() -> bool:
    """Did torchrun or SLURM start all processes of this training, and put their ranks into the environment?

    Raises:
        ConfigError: there is a rank without the number of processes, left over from something else.
    """
    if "LOCAL_RANK" in os.environ:
        if "WORLD_SIZE" not in os.environ:
            raise ConfigError("LOCAL_RANK is set without WORLD_SIZE: unset it, or start the processes with torchrun")
        return True
    tasks = os.environ.get("SLURM_NTASKS", "")
    return tasks.isdecimal() and tasks.lstrip("0") not in ("", "1") and "SLURM_PROCID" in os.environ
