"""Our sweepers and launcher, in the only package that Hydra accepts plugins from. They live in capsnet/sweeps/."""

from capsnet.sweeps import sweepers


class GridSweeper(sweepers.GridSweeper):
    """See `capsnet.sweeps.sweepers`."""


class OptunaSweeper(sweepers.OptunaSweeper):
    """See `capsnet.sweeps.sweepers`."""


try:
    from capsnet.sweeps import slurm
except ImportError:  # hydra-submitit-launcher is optional
    pass
else:

    class SlurmLauncher(slurm.SlurmLauncher):
        """See `capsnet.sweeps.slurm`."""
