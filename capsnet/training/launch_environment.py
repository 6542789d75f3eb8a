"""Who started this process, by the environment variables of torchrun and SLURM. Imports no torch."""

import os


def started_by_launcher() -> bool:
    """Did torchrun or SLURM start all processes of this training, and put their ranks into the environment?"""
    tasks = os.environ.get("SLURM_NTASKS", "")
    return "LOCAL_RANK" in os.environ or (tasks.isdigit() and int(tasks) > 1)
