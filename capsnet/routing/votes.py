"""Sums over the votes û_ij = W_ij u_i, which routings are made of, without ever forming the votes.

Σ_i û_ij is one matrix product of u with W. A sum weighted by agreement with some capsules a, Σ_i c_ij û_ij with
c_ij = softmax over j of û_ij · a_j, is one of (c ∘ u) with W, since û_ij · a_j = (W_ij a_j) · u_i. It goes over the
input capsules in chunks that fit the processor's cache. Its backward pass computes again what it needs.

Axes: b image, i input capsule, d its dimension, o output capsule, e its dimension. Images come last in every array.
Products with a coupling coefficient, which is the same for every d, then run along contiguous memory, and the part of W
that belongs to a chunk of input capsules is a view.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

CPU_CHUNK_BYTES = 5 << 19  # size of the largest array that routing makes: on a CPU it should stay in the cache
GPU_CHUNK_BYTES = 1 << 28  # elsewhere it should be large enough to keep every unit busy


class Votes:
    """The votes of input capsules u for output capsules, through transformation matrices W.

    Args:
        u: input capsules, [b, i, d].
        weight: W, [o, i, d, e].
        factor_dtype: type of what is multiplied with u and W; sums have u's own type.
        leaky: the softmax has one more logit, 0, whose share goes to no output capsule.
    """

    def __init__(self, u: Tensor, weight: Tensor, factor_dtype: torch.dtype, leaky: bool = False):
        self.dtype, self.factor_dtype, self.leaky = u.dtype, factor_dtype, leaky
        self.u, self.weight = (
            u.permute(1, 2, 0).to(factor_dtype).contiguous(),
            weight.to(factor_dtype),
        )  # u as [i, d, b]
        self.out_caps, _, _, self.out_dim = weight.shape

    def total(self) -> Tensor:
        """Σ_i û_ij, [o, e, b]: one plain matrix product."""
        total = (_as_matrix(self.weight).t() @ self.u.flatten(0, 1)).to(self.dtype)
        return total.view(self.out_caps, self.out_dim, -1)

    def coupled(self, capsules: Tensor, prior: Tensor | None = None) -> Tensor:
        """Σ_i (c_ij + prior_ij) û_ij, [o, e, b], with c_ij = softmax over j of û_ij · capsules_j.

        Args:
            capsules: [o, e, b].
            prior: [o, i], or None for zeros.
        """
        s, factor = torch.zeros_like(capsules), capsules.to(self.factor_dtype)
        for chunk in self._chunks():
            u, weight = self.u[chunk], self.weight[:, chunk].flatten(1, 2)
            votes = _times_capsules(weight, factor, u)  # W capsules
            coupling = self.coupling(_dot(votes, u, self.dtype))
            if prior is not None:
                coupling = coupling + prior[:, chunk, None]
            shares = torch.mul(coupling.to(self.factor_dtype).unsqueeze(2), u, out=votes)
            s += torch.bmm(weight.transpose(1, 2), shares.flatten(1, 2))
        return s

    def coupling(self, logits: Tensor) -> Tensor:
        """Softmax over the output capsules, the first axis: sums to 1 for each i, or to less if leaky."""
        if not self.leaky:
            return logits.softmax(dim=0)
        return torch.cat([logits, torch.zeros_like(logits[:1])]).softmax(dim=0)[:-1]

    def _chunks(self) -> Iterator[slice]:
        """Slices of the input capsules, as many as fit the cache. What is exported takes all, whatever the batch."""
        if torch.compiler.is_exporting():
            yield slice(None)
            return
        most = CPU_CHUNK_BYTES if self.u.device.type == "cpu" else GPU_CHUNK_BYTES
        count = max(1, most // max(1, self.out_caps * self.u[0].numel() * self.u.element_size()))  # 0: no images
        for start in range(0, len(self.u), count):
            yield slice(start, start + count)


class VotesGradient:
    """Gradients at u and W, to which the sums over votes add theirs in the backward pass.

    Args:
        votes: of the forward pass.
    """

    def __init__(self, votes: Votes):
        self.votes = votes
        self._u = torch.zeros_like(votes.u, dtype=votes.dtype)
        self.weight = torch.zeros_like(votes.weight, dtype=votes.dtype)
        """At W, [o, i, d, e]."""

    @property
    def u(self) -> Tensor:
        """At u, [b, i, d]."""
        return self._u.permute(2, 0, 1)

    def add_total(self, total_grad: Tensor) -> None:
        """Add what `total` contributes, given the gradient at it, [o, e, b]."""
        votes = self.votes
        total_grad = total_grad.flatten(0, 1).to(votes.factor_dtype)
        self._u += (_as_matrix(votes.weight) @ total_grad).view_as(self._u)
        weight_grad = (votes.u.flatten(0, 1) @ total_grad.t()).view(*votes.u.shape[:2], votes.out_caps, -1)
        self.weight += weight_grad.permute(2, 0, 1, 3)

    def add_coupled(
        self, capsules: Tensor, s_grad: Tensor, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Add what `coupled` contributes, given the gradient at its sum.

        Args:
            capsules: what it was called with, [o, e, b].
            s_grad: gradient at its sum, [o, e, b].
            prior: what it was called with, [o, i] or None.

        Returns:
            Gradients at `capsules`, [o, e, b], and at `prior`, [o, i] or None.
        """
        votes, dtype, factor_dtype = self.votes, self.votes.dtype, self.votes.factor_dtype
        capsules, s_grad = capsules.to(factor_dtype), s_grad.to(factor_dtype)
        capsules_grad = torch.zeros_like(capsules, dtype=dtype)
        prior_grad = None if prior is None else torch.zeros_like(prior)
        for chunk in votes._chunks():
            # s = Σ_i (c ∘ u) W and b = u · (W capsules): each takes its part of u's and W's gradient.
            u, weight = votes.u[chunk], votes.weight[:, chunk].flatten(1, 2)
            through_sum = _times_capsules(weight, s_grad, u)
            through_logits = _times_capsules(weight, capsules, u)
            coupling = votes.coupling(_dot(through_logits, u, dtype))
            coupling_grad = _dot(through_sum, u, dtype)
            if prior_grad is not None:
                prior_grad[:, chunk] += coupling_grad.sum(2)
            logits_grad = coupling_grad.mul_(coupling)
            logits_grad -= coupling * logits_grad.sum(0)
            if prior is not None:
                coupling = coupling + prior[:, chunk, None]
            coupling = coupling.to(factor_dtype).unsqueeze(2)  # the same for every d
            logits_grad = logits_grad.to(factor_dtype).unsqueeze(2)
            self._u[chunk] += through_sum.mul_(coupling).addcmul_(through_logits, logits_grad).sum(0, dtype=dtype)
            by_sum = torch.mul(coupling, u, out=through_sum).flatten(1, 2)
            by_logits = torch.mul(logits_grad, u, out=through_logits).flatten(1, 2)
            w_grad = torch.bmm(by_sum, s_grad.transpose(1, 2)).baddbmm_(by_logits, capsules.transpose(1, 2))
            self.weight[:, chunk] += w_grad.view_as(self.weight[:, chunk])
            capsules_grad += torch.bmm(weight.transpose(1, 2), by_logits)
        return capsules_grad, prior_grad


def total_votes(u: Tensor, weight: Tensor, factor_dtype: torch.dtype) -> Tensor:
    """Σ_i û_ij of u [b, i, d] and W [o, i, d, e], as [b, o, e]."""
    return _plain_total(u, weight) if in_transform() else _TotalVotes.apply(u, weight, factor_dtype)


def coupled_votes(u: Tensor, weight: Tensor, capsules: Tensor, factor_dtype: torch.dtype) -> Tensor:
    """Σ_i c_ij û_ij with c_ij = softmax over j of û_ij · capsules_j; `capsules` and result are [b, o, e]."""
    if in_transform():
        return _plain_coupled(u, weight, capsules)
    return _CoupledVotes.apply(u, weight, capsules, factor_dtype)


class _TotalVotes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, factor_dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(u, weight)
        ctx.factor_dtype = factor_dtype
        return Votes(u, weight, factor_dtype).total().permute(2, 0, 1)

    @staticmethod
    def backward(ctx: Any, total_grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        if torch.is_grad_enabled():
            return *plain_gradients(_plain_total, ctx.saved_tensors, total_grad), None
        with torch.autocast(total_grad.device.type, enabled=False):
            gradient = VotesGradient(Votes(*ctx.saved_tensors, ctx.factor_dtype))
            gradient.add_total(total_grad.permute(1, 2, 0))
            return gradient.u, gradient.weight, None


class _CoupledVotes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, capsules: Tensor, factor_dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(u, weight, capsules)
        ctx.factor_dtype = factor_dtype
        return Votes(u, weight, factor_dtype).coupled(capsules.permute(1, 2, 0).contiguous()).permute(2, 0, 1)

    @staticmethod
    def backward(ctx: Any, s_grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        u, weight, capsules = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *plain_gradients(_plain_coupled, (u, weight, capsules), s_grad), None
        with torch.autocast(u.device.type, enabled=False):
            gradient = VotesGradient(Votes(u, weight, ctx.factor_dtype))
            capsules_grad, _ = gradient.add_coupled(capsules.permute(1, 2, 0), s_grad.permute(1, 2, 0))
            return gradient.u, gradient.weight, capsules_grad.permute(2, 0, 1), None


def votes_of(u: Tensor, weight: Tensor) -> Tensor:
    """The votes û, formed: u [..., in_caps, in_dim], W -> [..., out_caps, in_caps, out_dim]."""
    return torch.einsum("...id,oide->...oie", u, weight)


def _plain_total(u: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("bid,oide->boe", u, weight)


def _plain_coupled(u: Tensor, weight: Tensor, capsules: Tensor) -> Tensor:
    votes = votes_of(u, weight)
    coupling = torch.einsum("boie,boe->boi", votes, capsules).softmax(1)
    return torch.einsum("boi,boie->boe", coupling, votes)


def in_transform() -> bool:
    """Is this inside a transform of `torch.func`, such as vmap? Then only plain operations can be used."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def plain_gradients(
    plain: Callable[..., Tensor], inputs: Sequence[Tensor | None], gradient: Tensor
) -> list[Tensor | None]:
    """Gradients at the inputs that can be differentiated again, by autograd through plain operations.

    Args:
        plain: what the forward pass computes.
        inputs: of it.
        gradient: at its result.
    """
    wanted = [one for one in inputs if one is not None and one.requires_grad]
    with torch.autocast(gradient.device.type, enabled=False):
        found = iter(torch.autograd.grad(plain(*inputs), wanted, gradient, create_graph=True))
    return [next(found) if one is not None and one.requires_grad else None for one in inputs]


def check_iters(iters: int) -> None:
    """Raise ValueError if there is no iteration."""
    if iters < 1:
        raise ValueError(f"iters={iters}: routing needs at least 1 iteration")


def check_shapes(u: Tensor, weight: Tensor) -> None:
    """Raise ValueError if input capsules and transformation matrices do not fit each other."""
    if u.ndim != 3 or weight.ndim != 4 or u.shape[1:] != weight.shape[1:3]:
        raise ValueError(
            f"u must be [batch, in_caps, in_dim] and weight [out_caps, in_caps, in_dim, out_dim],"
            f" got {list(u.shape)} and {list(weight.shape)}"
        )


def computing_types(u: Tensor, weight: Tensor) -> tuple[torch.dtype, torch.dtype]:
    """The type for sums and capsules, float32 at least, and that of factors: bfloat16 under bfloat16 autocast."""
    device = u.device.type
    dtype = torch.promote_types(torch.promote_types(u.dtype, weight.dtype), torch.float32)
    use_bf16 = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return dtype, torch.bfloat16 if use_bf16 else dtype


def _times_capsules(weight: Tensor, capsules: Tensor, u: Tensor) -> Tensor:
    """Σ_e W_oide v_oeb as [o, i, d, b]; `weight` [o, i * d, e], `capsules` [o, e, b], `u` [i, d, b]."""
    return torch.bmm(weight, capsules).view(weight.shape[0], *u.shape)


def _dot(votes: Tensor, u: Tensor, dtype: torch.dtype) -> Tensor:
    """Σ_d votes_oidb u_idb as [o, i, b]."""
    return (votes * u).sum(2, dtype=dtype)


def _as_matrix(weight: Tensor) -> Tensor:
    """[o, i, d, e] as [i * d, o * e]."""
    return weight.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
