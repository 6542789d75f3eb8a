"""Variational Bayes routing (Ribeiro, Leontidis & Kollias 2020, arXiv:1905.11455): clusters of votes with priors."""

import math

import torch
from torch import Tensor, nn

from .batch_norm import BatchNorm
from .em import start_of
from .matrices import LayerVotes, MatrixRouting, Routed
from .vote_sums import VoteSums
from .votes import check_iters
from .windows import Windows, log_total


class VariationalBayesRouting(MatrixRouting):
    """Parents by variational Bayes, then batch normalization of poses and of the activations' logits.

    Args:
        children: in a parent's window.
        types: of parents.
        dim: numbers of a pose.
        iters: iterations, at least 1.
        clamp: see `vb_routing`.
        competition: one of `windows.COMPETITIONS`.
    """

    vote_size = 0.05  # the prior's deviation is about 0.25: clusters overlap at first, see `EMRouting`

    def __init__(
        self,
        children: int,
        types: int,
        dim: int = 16,
        iters: int = 3,
        clamp: float = 1e-11,
        competition: str = "parents",
    ):
        super().__init__()
        self.iters, self.clamp, self.competition = iters, clamp, competition
        self.beta_u = nn.Parameter(torch.zeros(types))
        self.beta_a = nn.Parameter(torch.zeros(types))
        self.pose_norm = BatchNorm(types)
        self.activation_norm = BatchNorm(types)

    def forward(self, votes: LayerVotes, iters: int | None = None) -> Routed:
        """As of `MatrixRouting`; the activations are logits, until `finish`."""
        iters = self.iters if iters is None else iters
        return vb_routing(
            *(votes.votes, votes.activations, self.beta_u, self.beta_a, votes.windows, iters),
            clamp=self.clamp,
            competition=self.competition,
        )

    def finish(self, poses: Tensor, activations: Tensor) -> tuple[Tensor, Tensor]:
        return self.pose_norm(poses), self.activation_norm(activations).sigmoid()


def vb_routing(
    votes: Tensor,
    activations: Tensor,
    beta_u: Tensor,
    beta_a: Tensor,
    windows: Windows | None = None,
    iters: int = 3,
    *,
    clamp: float = 1e-11,
    competition: str = "parents",
) -> Routed:
    """Parents as Gaussian clusters of votes, by variational Bayes with diagonal covariances (Ribeiro et al. 2020).

    The priors are those of the authors' code: Dirichlet α₀ = 1; Gaussian-Wishart m₀ = 0, κ₀ = 1, Ψ₀ = I, ν₀ = dim + 1.
    A parent without votes is its prior, m = 0, and everything stays finite. Computes in float32 at least.

    Args:
        votes: [batch, positions, types, dim, children].
        activations: of the children, [batch, positions, children].
        beta_u, beta_a: of the activations, [types].
        windows: which child each one is; None: each votes for parents at one position only.
        iters: iterations, at least 1.
        clamp: the least sum of the densities of a child's vote under all parents. A vote that is farther from all
            counts less than 1; with 0, every child's responsibilities sum to 1.
        competition: one of `windows.COMPETITIONS`.

    Returns:
        Posterior means m; the logits of the activations, before batch normalization; and R_ij of the last iteration,
        which are not yet multiplied by the children's activations.

    Raises:
        ValueError: `iters` is below 1, or `competition` is another word.
    """
    check_iters(iters)
    dtype = torch.promote_types(votes.dtype, torch.float32)
    with torch.autocast(votes.device.type, enabled=False):
        votes, activations = votes.to(dtype), activations.to(dtype).unsqueeze(2)
        dim = votes.shape[3]
        shares = start_of(votes, windows, "types")
        sums = VoteSums(votes, products=2 * iters - 1)
        for iteration in range(1, iters + 1):
            coupled = (shares * activations).expand(votes.shape[0], -1, votes.shape[2], -1)
            mass = coupled.sum(3)
            alpha = kappa = 1 + mass
            nu = dim + 1 + mass
            first, second = sums.moments(coupled)
            mean = (first + mass.unsqueeze(3) * sums.centre) / kappa.unsqueeze(3)
            offset = mean - sums.centre
            # Σ R a (V - m)² + κ₀ m² is Σ R a (V - μ)² + κ₀ R / κ μ², without the μ = 0 / 0 of a parent without votes.
            about_mean = (second - offset * (2 * first - offset * mass.unsqueeze(3))).clamp(min=0)
            inverse_psi = 1 + about_mean + mean.square()
            orders = torch.arange(dim, dtype=dtype, device=votes.device)
            log_precision = (
                digamma((nu.unsqueeze(3) - orders) / 2).sum(3) + dim * math.log(2) - inverse_psi.log().sum(3)
            )
            log_share = digamma(alpha) - digamma(alpha.sum(2, keepdim=True))
            if iteration < iters:
                distances = sums.distances(offset, inverse_psi.reciprocal())
                constant = log_share + log_precision / 2 - dim / 2 * (math.log(2 * math.pi) + 1 / kappa)
                logits = constant.unsqueeze(3) - nu.unsqueeze(3) / 2 * distances
                total = log_total(logits, windows, competition)
                if clamp:
                    total = total.clamp(min=math.log(clamp))
                shares = (logits - total).exp()
        entropy = dim / 2 * math.log(2 * math.pi * math.e) - log_precision / 2
        logit = beta_a - (log_share.exp() * entropy + beta_u)
        return Routed(mean, logit, shares.expand(votes.shape[0], -1, votes.shape[2], -1))


def digamma(x: Tensor) -> Tensor:
    """ψ(x), x at least 1. What is exported has no operator for it: it takes the asymptotic series from x + 6 on."""
    if not torch.compiler.is_exporting():
        return torch.digamma(x)
    shift = sum(1 / (x + step) for step in range(6))
    large = x + 6
    square = large.square().reciprocal()
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240)))
    return large.log() - 0.5 / large - series - shift
