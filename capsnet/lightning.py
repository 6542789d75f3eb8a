"""The network and the images for your own Lightning Trainer: the two classes that the project's own runs use.

    import pytorch_lightning as pl
    from capsnet.lightning import CapsNetModule, KMNISTDataModule

    module = CapsNetModule("model=capsnet", "routing.iters=3")  # any settings of the command line
    trainer = pl.Trainer(max_epochs=2)
    trainer.fit(module, KMNISTDataModule("data=kmnist_7k"))

Nothing is seeded globally, and no logger or callback of ours is added. docs/library.md says more.
"""

from .training.datamodule import KMNISTDataModule
from .training.module import CapsNetModule

__all__ = ["CapsNetModule", "KMNISTDataModule"]
