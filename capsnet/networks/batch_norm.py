"""Batch normalization whose statistics are right from the first step on."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm2d(nn.BatchNorm2d):
    """Normalizes by a batch in training; afterwards by a running average over the batches, corrected as Adam's are.

    Torch's own average begins with mean 0 and variance 1, and with Keras' momentum remembers 37 % of that after 100
    steps: a network that trains well is then validated with statistics of no data. Here the weights of the batches add
    up to 1 at every step t (Kingma & Ba 2015, section 3): the newest has momentum / (1 - (1 - momentum)^t). In long
    trainings, that is the momentum.
    """

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape."""
        if not self.training:
            return super().forward(features)
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        normalized = F.batch_norm(features, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = self.momentum / (1 - (1 - self.momentum) ** self.num_batches_tracked)
            self.running_mean.lerp_(mean, share.to(mean.dtype))
            self.running_var.lerp_(variance, share.to(variance.dtype))
        return normalized
