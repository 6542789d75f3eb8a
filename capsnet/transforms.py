"""What is different inside the transforms of `torch.func`: only plain operations, and no look at values."""

import torch
from torch import Tensor
from torch.nn import functional as F


def in_transform() -> bool:
    """Is this inside a transform of `torch.func`, such as vmap or grad?"""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """[...] -> [..., classes], as `torch.nn.functional.one_hot`, but that a transform cannot check the labels."""
    if in_transform():
        return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).long()
    return F.one_hot(labels, classes)
