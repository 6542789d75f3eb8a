"""EM routing (Hinton, Sabour & Frosst 2018, "Matrix capsules with EM routing"): parents are clusters of votes."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batch_norm import BatchNorm
from .matrices import LayerVotes, MatrixRouting, Routed
from .vote_sums import VoteSums
from .votes import check_iters
from .windows import Windows, log_total

STARTS = ("parents", "types", "all_parents")
"""R of the first iteration: 1 over the number of parents that a child votes for; over the number of their types; or
over the number of all parents of the layer."""

ROUNDS = 5  # of adjusting the first weights
SOFT_VOTES = 0.1  # of a standard deviation of 1, which is the default variance floor
LEAST_MASS, LEAST_VARIANCE = 1e-20, 1e-12  # so that a parent without votes, or with one, has a finite gradient


class EMRouting(MatrixRouting):
    """Parents by expectation maximization. Settings that differ from the paper's are explained in docs/audit.md.

    The defaults let it learn from the first step, which the paper's do not: random votes of 16 numbers each find a
    single parent that explains them, and gradients through that choice say nothing. So votes are small at first
    compared with `variance_floor`, clusters overlap, and the matrices grow as far as training wants them sharper. Batch
    normalization then gives the parents' poses and activations a size that does not depend on all this.

    Args:
        children: in a parent's window.
        types: of parents.
        dim: numbers of a pose.
        iters: iterations, at least 1.
        final_lambda: λ of iteration t is `final_lambda` * (1 - 0.95^t). With batch normalization, that of the last
            iteration is learned in its place.
        start: one of `STARTS`.
        competition: one of `windows.COMPETITIONS`.
        damping: share of the mean before in each new one.
        variance_floor: added to variances.
        mass_floor: added to the sum of a parent's coupling.
        sum_floor: see `em_routing`.
        batch_norm: normalize poses and the activations' logits by type, as variational Bayes routing does.
    """

    def __init__(
        self,
        children: int,
        types: int,
        dim: int = 16,
        iters: int = 3,
        final_lambda: float = 0.05,
        start: str = "parents",
        competition: str = "parents",
        damping: float = 0.0,
        variance_floor: float = 1.0,
        mass_floor: float = 1e-7,
        sum_floor: float = 0.0,
        batch_norm: bool = True,
    ):
        super().__init__()
        self.iters = iters
        self.form = {
            "final_lambda": final_lambda,
            "start": start,
            "competition": competition,
            "damping": damping,
            "variance_floor": variance_floor,
            "mass_floor": mass_floor,
            "sum_floor": sum_floor,
        }
        # β_u of all numbers of a vote together: a step of β_u itself would move costs by many times what tells images
        # apart, and leave the running statistics of the normalization behind.
        self.dim, self.vote_cost = dim, nn.Parameter(torch.zeros(types))
        # λ β_a of the last iteration, the log-odds that it gives a capsule: β_a itself would have to move by thousands.
        self.bias = nn.Parameter(torch.zeros(types))
        self.batch_norm = batch_norm
        if batch_norm:
            self.pose_norm, self.activation_norm = BatchNorm(types), BatchNorm(types, affine=True)
            self.vote_size = SOFT_VOTES

    @property
    def beta_u(self) -> Tensor:
        """β_u of the paper, [types]."""
        return self.vote_cost / self.dim

    @property
    def beta_a(self) -> Tensor:
        """β_a of the paper, [types]."""
        return self.bias / inverse_temperature(self.iters, self.form["final_lambda"])

    @torch.no_grad()
    def adjust(self, votes: LayerVotes) -> None:
        """Let half of the capsules be active, as the paper's authors do."""
        scale = inverse_temperature(self.iters, self.form["final_lambda"])
        for _ in range(ROUNDS):  # log-odds of activations that are near 0 or 1 are cut off
            logits = self.bias - scale * self._route(votes, costs=True).activations
            self.bias -= logits.clamp(-14, 14).mean((0, 1))

    def forward(self, votes: LayerVotes, iters: int | None = None) -> Routed:
        """As of `MatrixRouting`; with batch normalization, the activations are -cost, until `finish`.

        Normalization would remove β_a, and each of its steps would leave the running mean far behind.
        """
        routed = self._route(votes, iters, costs=self.batch_norm)
        if not self.batch_norm:
            return routed
        # With one iteration, β_a would have no gradient at all, which training in several processes refuses.
        return routed._replace(activations=0 * self.bias - routed.activations)

    def finish(self, poses: Tensor, activations: Tensor) -> tuple[Tensor, Tensor]:
        if not self.batch_norm:
            return poses, activations
        return self.pose_norm(poses), self.activation_norm(activations).sigmoid()

    def _route(self, votes: LayerVotes, iters: int | None = None, costs: bool = False) -> Routed:
        iters = self.iters if iters is None else iters
        return em_routing(
            *(votes.votes, votes.activations, self.beta_u, self.beta_a, votes.windows, iters),
            **self.form,
            costs=costs,
        )


def inverse_temperature(iteration: int, final_lambda: float = 0.01) -> float:
    """λ of an iteration, counted from 1, as the paper's authors gave it on OpenReview."""
    return final_lambda * (1 - 0.95**iteration)


def em_routing(
    votes: Tensor,
    activations: Tensor,
    beta_u: Tensor,
    beta_a: Tensor,
    windows: Windows | None = None,
    iters: int = 3,
    *,
    final_lambda: float = 0.01,
    start: str = "parents",
    competition: str = "parents",
    damping: float = 0.0,
    variance_floor: float = 0.0,
    mass_floor: float = 0.0,
    sum_floor: float = 0.0,
    costs: bool = False,
) -> Routed:
    """Parents as Gaussian clusters of votes, by expectation maximization (Hinton et al. 2018, procedure 1).

    With the defaults, this is the procedure, read so that a child begins with the same share for all parents that it
    votes for; by the letters of line 2, it is 1 / all capsules of the layer, which is start="all_parents". Parents of
    all positions compete for a child only if `windows` says which children they share. The E-step is computed in log
    space. Computes in float32 at least.

    The authors' release differs: start="types", competition="positions", final_lambda=0.02, damping=0.1,
    variance_floor=5e-4, mass_floor=1e-7, sum_floor=1e-7 is what it does in convolutional layers of stride 1, with
    beta_u = its sigma_bias * (ln 2π + 1) / 2 and beta_a = -2500 * its activation_bias.

    Args:
        votes: [batch, positions, types, dim, children].
        activations: of the children, [batch, positions, children].
        beta_u: -β_u is what a vote costs while its parent is inactive, [types].
        beta_a: -β_a is the fixed cost of an active parent, [types].
        windows: which child each one is; None: each votes for parents at one position only.
        iters: iterations, at least 1.
        final_lambda: λ of iteration t is `final_lambda` * (1 - 0.95^t).
        start: one of `STARTS`.
        competition: one of `windows.COMPETITIONS`.
        damping: share of the mean before in each new one; the first is 0.
        variance_floor: added to variances. With 0, a parent whose votes all agree has an infinite density.
        mass_floor: added to Σ_i R_ij a_i.
        sum_floor: added to the sum that normalizes R, where the largest term between two types of capsules in an image
            is 1.
        costs: give the parents' costs in place of their activations σ(λ (β_a - cost)).

    Returns:
        Means, activations, and R_ij of the last iteration, which are not yet multiplied by the children's activations.

    Raises:
        ValueError: `iters` is below 1, or `start` or `competition` is another word.
    """
    check_iters(iters)
    dtype = torch.promote_types(votes.dtype, torch.float32)
    with torch.autocast(votes.device.type, enabled=False):
        votes, activations = votes.to(dtype), activations.to(dtype).unsqueeze(2)
        shares = start_of(votes, windows, start)
        sums = VoteSums(votes, products=2 * iters - 1)
        mean = torch.zeros_like(sums.centre)
        for iteration in range(1, iters + 1):
            coupled = (shares * activations).expand(votes.shape[0], -1, votes.shape[2], -1)
            received = coupled.sum(3).unsqueeze(3)  # [batch, positions, types, 1]
            mass = received + mass_floor
            known = mass.clamp(min=LEAST_MASS)
            first, second = sums.moments(coupled)
            mean = (1 - damping) * (first + received * sums.centre) / known + damping * mean
            offset = mean - sums.centre
            variance = (second - offset * (2 * first - offset * received)) / known
            variance = (variance.clamp(min=0) + variance_floor).clamp(min=LEAST_VARIANCE)
            log_deviations = variance.log().sum(3) / 2
            cost = mass.squeeze(3) * (votes.shape[3] * beta_u + log_deviations)
            logit = inverse_temperature(iteration, final_lambda) * (beta_a - cost)
            if iteration < iters:
                distances = sums.distances(offset, variance.reciprocal())
                constant = votes.shape[3] / 2 * math.log(2 * math.pi)
                logits = (log_sigmoid(logit) - log_deviations - constant).unsqueeze(3) - distances / 2
                total = log_total(logits, windows, competition)
                if sum_floor:
                    largest = _largest_of_types(logits, windows)
                    total = torch.logaddexp(total, largest + math.log(sum_floor))
                shares = (logits - total).exp()
        activations = cost if costs else log_sigmoid(logit).exp()
        return Routed(mean, activations, shares.expand(votes.shape[0], -1, votes.shape[2], -1))


def start_of(votes: Tensor, windows: Windows | None, start: str) -> Tensor:
    """R of the first iteration, [1, positions, 1, children] or a form that broadcasts to it."""
    if start not in STARTS:
        raise ValueError(f"start={start!r}: must be one of {', '.join(STARTS)}")
    _, positions, types, _, children = votes.shape
    if start == "types" or windows is None:
        return votes.new_full((1, positions, 1, children), 1 / types)
    if start == "all_parents":
        return votes.new_full((1, positions, 1, children), 1 / (types * positions))
    counts = windows.parents.repeat(1, children // windows.places)
    return (1 / (types * counts.to(votes.dtype)))[None, :, None]


def _largest_of_types(logits: Tensor, windows: Windows | None) -> Tensor:
    """The largest logit between each type of child and each type of parent in an image, at each of their places."""
    places = windows.places if windows is not None else 1
    by_type = logits.detach().unflatten(3, (-1, places))
    return by_type.amax((1, 4), keepdim=True).expand_as(by_type).flatten(3)


def log_sigmoid(x: Tensor) -> Tensor:
    """ln σ(x). ONNX Runtime's sigmoid is wrong below 1e-7, and activations as small as that weight votes, too."""
    if not torch.compiler.is_exporting():
        return F.logsigmoid(x)
    return x.clamp(max=0) - torch.log1p(torch.exp(-x.abs()))
