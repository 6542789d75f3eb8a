"""The transformation matrices W_ij, by which every input capsule predicts every output capsule."""

import math

import torch
from torch import nn

GAIN = 0.7


class TransformationMatrices(nn.Module):
    """Holds W as `weight` [out_caps, in_caps, in_dim, out_dim], for the routings to build on.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
        gain: scale of the first weights.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int, gain: float = GAIN):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_caps, in_caps, in_dim, out_dim))
        # The first s_j sums in_caps predictions, each weighted by 1 / out_caps. At the default gain, the first class
        # capsules are about 0.2 long, whatever the capsule counts. Shorter ones learn more slowly, since squash passes
        # little gradient there; at four times this scale every capsule starts near length 1, and nothing is learned for
        # a long time (measured in benchmarks/RESULTS.md).
        nn.init.normal_(self.weight, std=gain * out_caps / math.sqrt(in_caps * out_dim))
