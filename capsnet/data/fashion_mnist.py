"""Fashion-MNIST."""

from torchvision.datasets import FashionMNIST

from .idx import IdxSource, release_of


def fashion_mnist(root: str = "data", download: bool = True, mirror: str | None = None) -> IdxSource:
    """70,000 pieces of clothing in ten classes (Xiao et al. 2017)."""
    return IdxSource(release_of(FashionMNIST), root, download, mirror, class_names=tuple(FashionMNIST.classes))
