"""Classes with more and with fewer images. Imports no torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

UNBALANCED = 1.5  # times as many images in the largest class as in the smallest


def are_unbalanced(counts: Sequence[int]) -> bool:
    """Do classes with so many images differ so much in size that accuracy alone misleads?"""
    return max(counts) > UNBALANCED * min(counts)


def balanced_weights(counts: "Tensor") -> "Tensor":
    """Weight of an image of each class with which all classes count the same, [classes]; 1 on average over the images.

    A class without images has the weight 0.
    """
    present = counts > 0
    return present * counts.sum() / (present.sum() * counts.clamp(min=1))
