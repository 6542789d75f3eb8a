"""Self-routing (Hahn, Pyeon & Kim 2019): each child chooses its parents from its own pose, without iterations."""

import torch
from torch import Tensor, nn

from .em import LEAST_MASS
from .matrices import LayerVotes, MatrixRouting, Routed
from .vote_sums import over_children


class SelfRouting(MatrixRouting):
    """Parents by a softmax classifier of each child. Its weights start at 0, as the authors': all parents count alike.

    Args:
        children: in a parent's window.
        types: of parents.
        dim: numbers of a child's pose.
    """

    def __init__(self, children: int, types: int, dim: int = 16):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(children, types, dim))
        self.bias = nn.Parameter(torch.zeros(children, types))

    def forward(self, votes: LayerVotes, iters: int | None = None) -> Routed:
        with torch.autocast(votes.votes.device.type, enabled=False):
            poses = votes.poses.to(torch.promote_types(votes.poses.dtype, torch.float32))
            logits = torch.einsum("bpnd,njd->bpjn", poses, self.weight) + self.bias.t()
            return self_routing(votes.votes, votes.activations, logits)


def self_routing(votes: Tensor, activations: Tensor, logits: Tensor) -> Routed:
    """Parents as the votes of children that chose them (Hahn et al. 2019). Types at one position compete.

    Args:
        votes: [batch, positions, types, dim, children].
        activations: of the children, [batch, positions, children].
        logits: of each child's choice, [batch, positions, types, children].

    Returns:
        poses Σ_i a_i r_ij V_ij / Σ_i a_i r_ij; activations Σ_i a_i r_ij / Σ_i a_i, which sum to 1 over the types of a
        position; and r_ij. Where all children have activation 0, poses and activations are 0.
    """
    dtype = torch.promote_types(votes.dtype, torch.float32)
    with torch.autocast(votes.device.type, enabled=False):
        votes, activations = votes.to(dtype), activations.to(dtype).unsqueeze(2)
        shares = logits.to(dtype).softmax(2)
        coupled = shares * activations
        mass = coupled.sum(3)
        poses = over_children(votes, coupled) / mass.clamp(min=LEAST_MASS).unsqueeze(3)
        return Routed(poses, mass / activations.sum(3).clamp(min=LEAST_MASS), shares)
