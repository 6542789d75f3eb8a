"""Inverted dot-product attention (Tsai, Srivastava, Goh & Salakhutdinov 2020, arXiv:2002.04764): parents' poses choose.

A child's vote is compared with the poses that its parents had before, not with those of other children. Poses are
normalized, so their length says nothing.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .matrices import LayerVotes, MatrixRouting, Routed
from .steps import RoutingStep
from .transformation import TransformationMatrices
from .vote_sums import over_children, row_times
from .votes import check_iters, check_shapes, computing_types, coupled_votes, total_votes, votes_of
from .windows import Windows, log_total


class InvertedMatrixRouting(MatrixRouting):
    """Parents by attention of their poses. The first pass counts all votes alike.

    Args:
        children: in a parent's window.
        types: of parents.
        dim: numbers of a pose.
        iters: passes, at least 1.
        order: "concurrent": pass t of every layer works with what pass t - 1 left in the layer below, as the authors
            do; "sequential": a layer does all its passes before the next one begins.
        competition: one of `windows.COMPETITIONS`; the authors' is "types".
    """

    uses_activations = False

    def __init__(
        self,
        children: int,
        types: int,
        dim: int = 16,
        iters: int = 3,
        order: str = "concurrent",
        competition: str = "types",
    ):
        super().__init__()
        self.iters, self.competition = iters, competition
        self.passes = iters if order == "concurrent" else 1
        self.norm = nn.LayerNorm(dim)

    def forward(self, votes: LayerVotes, iters: int | None = None, before: Tensor | None = None) -> Routed:
        """As of `MatrixRouting`.

        Args:
            before: poses of the parents from an earlier pass, [batch, positions, types, dim], or None.
        """
        iters = self.iters if iters is None else iters
        return inverted_routing(
            *(votes.votes, self.norm.weight, self.norm.bias, votes.windows, iters, before),
            competition=self.competition,
        )


def inverted_routing(
    votes: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    windows: Windows | None = None,
    iters: int = 3,
    before: Tensor | None = None,
    *,
    competition: str = "types",
) -> Routed:
    """Parents by inverted dot-product attention (Tsai et al. 2020). Computes in float32 at least.

    Args:
        votes: [batch, positions, types, dim, children].
        norm_weight, norm_bias: of the layer normalization of poses, [dim], shared by all parents.
        windows: which child each one is; it matters only if not just the types at one position compete.
        iters: passes, at least 1.
        before: poses of an earlier pass, [batch, positions, types, dim]; None: in the first pass all couplings are
            1 / types.
        competition: one of `windows.COMPETITIONS`.

    Returns:
        Poses; activations, which are 1; and the coupling of the last pass.

    Raises:
        ValueError: `iters` is below 1, or `competition` is another word.
    """
    check_iters(iters)
    dtype = torch.promote_types(votes.dtype, torch.float32)
    with torch.autocast(votes.device.type, enabled=False):
        votes, pose = votes.to(dtype), None if before is None else before.to(dtype)
        types, dim = votes.shape[2:4]
        for _ in range(iters):
            if pose is None:
                coupling = torch.full_like(votes[..., 0, :], 1 / types)
                pose = votes.mean(4) * (votes.shape[4] / types)
            else:
                logits = row_times(pose, votes) / math.sqrt(dim)
                coupling = (logits - log_total(logits, windows, competition)).exp()
                pose = over_children(votes, coupling)
            pose = F.layer_norm(pose, (dim,), norm_weight, norm_bias)
        return Routed(pose, torch.ones_like(pose[..., 0]), coupling)


class InvertedRouting(TransformationMatrices):
    """Output capsules of vectors by inverted dot-product attention.

    A capsule has the direction of its pose; its length is the probability that one linear classifier, shared by all
    capsules, gives to the pose, as the authors classify.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
        iters: passes, at least 1.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int, iters: int = 3):
        super().__init__(in_caps, in_dim, out_caps, out_dim)
        check_iters(iters)
        self.iters = iters
        self.norm = nn.LayerNorm(out_dim)
        self.classifier = nn.Linear(out_dim, 1)

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], lengths in (0, 1)."""
        poses = inverted_attention(u, self.weight, self.norm.weight, self.norm.bias, self.iters)
        with torch.autocast(u.device.type, enabled=False):
            return self.as_capsules(poses)

    def as_capsules(self, poses: Tensor) -> Tensor:
        """Poses [..., out_dim] with their probability as length."""
        lengths = torch.linalg.vector_norm(poses, dim=-1, keepdim=True)
        return poses / lengths.clamp(min=1e-12) * self.classifier(poses).sigmoid()

    def steps(self, u: Tensor) -> list[RoutingStep]:
        """The passes by plain operations, u [..., in_caps, in_dim]."""
        votes, steps = votes_of(u, self.weight), []
        logits = votes.new_zeros(votes.shape[:-1])
        for _ in range(self.iters):
            coupling = logits.softmax(-2)
            sums = torch.einsum("...oi,...oie->...oe", coupling, votes)
            poses = self.norm(sums)
            steps.append(RoutingStep(coupling, sums, self.as_capsules(poses)))
            logits = torch.einsum("...oie,...oe->...oi", votes, poses) / math.sqrt(sums.shape[-1])
        return steps


def inverted_attention(u: Tensor, weight: Tensor, norm_weight: Tensor, norm_bias: Tensor, iters: int = 3) -> Tensor:
    """Poses of output capsules by inverted dot-product attention (Tsai et al. 2020), of vectors.

    The votes are never formed: <p_j, W_ij u_i> is (W_ij p_j) · u_i, as in dynamic routing. Types are as there.

    Args:
        u: input capsules, [batch, in_caps, in_dim].
        weight: transformation matrices W, [out_caps, in_caps, in_dim, out_dim].
        norm_weight, norm_bias: of the layer normalization of poses, [out_dim].
        iters: passes, at least 1.

    Returns:
        Poses, [batch, out_caps, out_dim].

    Raises:
        ValueError: `iters` is below 1, or the shapes do not fit each other.
    """
    check_iters(iters)
    check_shapes(u, weight)
    dtype, factor_dtype = computing_types(u, weight)
    with torch.autocast(u.device.type, enabled=False):
        u, weight = u.to(dtype), weight.to(dtype)
        out_caps, _, _, out_dim = weight.shape
        pose: Tensor | None = None
        for _ in range(iters):
            if pose is None:
                sums = total_votes(u, weight, factor_dtype) / out_caps
            else:
                sums = coupled_votes(u, weight, pose / math.sqrt(out_dim), factor_dtype)
            pose = F.layer_norm(sums, (out_dim,), norm_weight.to(dtype), norm_bias.to(dtype))
        return pose
