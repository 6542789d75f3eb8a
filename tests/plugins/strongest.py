"""A plugin: a routing of matrices in one file. The children that are most active decide, each for all parents alike."""

from dataclasses import dataclass

import torch
from torch import nn

from capsnet import MatrixRouting, Routed, setting


class StrongestRouting(MatrixRouting):
    """Parents from the votes of the children, by a softmax of their activations."""

    def __init__(self, children, types, dim, sharpness):
        super().__init__()
        self.activation, self.sharpness = nn.Linear(dim, 1), sharpness

    def forward(self, votes, iters=None):
        shares = (self.sharpness * votes.activations).softmax(2)  # [batch, positions, children]
        coupling = shares.unsqueeze(2).expand(-1, -1, votes.votes.shape[2], -1)
        poses = (votes.votes @ shares[:, :, None, :, None]).squeeze(4)
        return Routed(poses, torch.sigmoid(self.activation(poses)).squeeze(3), coupling)


@dataclass
class Strongest:
    """The most active children decide."""

    sharpness: float = setting(4.0, "factor on activations before the softmax", above=0)

    def build_matrices(self, children, types, dim):
        return StrongestRouting(children, types, dim, self.sharpness)


OPTIONS = {"routing": {"strongest": Strongest}}
