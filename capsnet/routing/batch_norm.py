"""Batch normalization of what a routing gives, by type of capsule."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm1d):
    """Of numbers [batch, positions, types, ...], by type, in float32 at least.

    A single number cannot be normalized by itself: for it, the running statistics count.
    """

    def __init__(self, types: int, affine: bool = False):
        super().__init__(types, affine=affine)

    def forward(self, values: Tensor) -> Tensor:
        by_type = values.transpose(1, 2).flatten(2)
        if self.training and by_type.shape[0] * by_type.shape[2] == 1:
            running = self.running_mean, self.running_var
            normalized = F.batch_norm(by_type, *running, self.weight, self.bias, eps=self.eps)
        else:
            normalized = super().forward(by_type)
        return normalized.unflatten(2, (values.shape[1], -1)).transpose(1, 2).view_as(values)
