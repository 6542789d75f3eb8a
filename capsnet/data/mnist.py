"""MNIST."""

from torchvision.datasets import MNIST

from .idx import IdxSource, release_of


def mnist(root: str = "data", download: bool = True, mirror: str | None = None) -> IdxSource:
    """70,000 handwritten digits (LeCun et al. 1998)."""
    return IdxSource(release_of(MNIST), root, download, mirror, class_names=tuple("0123456789"))
