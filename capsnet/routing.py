"""Squashing and routing: how the capsules of one layer choose the capsules of the next."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .config import RoutingConfig

Routing = Callable[[Tensor, Tensor, int], Tensor]
"""(u [batch, in_caps, in_dim], weight [out_caps, in_caps, in_dim, out_dim], iters) -> [batch, out_caps, out_dim]"""

CPU_CHUNK_BYTES = 5 << 19  # the largest array that routing makes: on a CPU it should stay in the cache,
GPU_CHUNK_BYTES = 1 << 28  # elsewhere it should be large enough to keep every unit busy


def squash(s: Tensor, dim: int = -1) -> Tensor:
    """Shrink vectors to length |s|^2 / (1 + |s|^2), keeping their direction (Sabour et al. 2017, eq. 1).

    Args:
        s: vectors along `dim`, any shape.

    Returns:
        Same shape as `s`; lengths in [0, 1). The gradient is finite at s = 0.
    """
    length = torch.linalg.vector_norm(s, dim=dim, keepdim=True)
    return s * (length / (1 + length.square()))


def dynamic_routing(u: Tensor, weight: Tensor, iters: int = RoutingConfig.iters) -> Tensor:
    """Route input capsules to output capsules by agreement (Sabour et al. 2017, procedure 1).

    The predictions û_ij = W_ij u_i are never formed. The weighted sums s_j = Σ_i c_ij û_ij are one matrix product
    of (c ∘ u) with W, and the agreement û_ij · v_j is (W_ij v_j) · u_i. Since every iteration adds its agreement to
    the logits, and û does not change, the logits are û_ij · (v_j summed over the iterations so far). The backward
    pass keeps nothing but u, W and the s_j of each iteration, and computes the rest again. Both passes go over the
    input capsules in chunks that fit the processor's cache. The gradient cannot be differentiated again.

    Computes in float32 at least, also under autocast. Gradients run through every iteration.

    Args:
        u: input capsules, [batch, in_caps, in_dim].
        weight: transformation matrices W, [out_caps, in_caps, in_dim, out_dim].
        iters: number of routing iterations, at least 1; with 1, all coupling coefficients are 1 / out_caps.

    Returns:
        Output capsules v, [batch, out_caps, out_dim], lengths in [0, 1).

    Raises:
        ValueError: `iters` is below 1, or the shapes do not fit each other.
    """
    if iters < 1:
        raise ValueError(f"iters={iters}: routing needs at least 1 iteration")
    if u.ndim != 3 or weight.ndim != 4 or u.shape[1:] != weight.shape[1:3]:
        raise ValueError(
            f"u must be [batch, in_caps, in_dim] and weight [out_caps, in_caps, in_dim, out_dim],"
            f" got {list(u.shape)} and {list(weight.shape)}"
        )
    with torch.autocast(u.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(u.dtype, weight.dtype), torch.float32)
        return _DynamicRouting.apply(u.to(dtype), weight.to(dtype), iters)


class _DynamicRouting(torch.autograd.Function):
    """Axes: b image, i input capsule, d its dimension, o output capsule, e its dimension.

    Images come last in every array here, and d before i: then the products with a coupling coefficient, which is the
    same for every d, run along contiguous memory, and so do the matrix products.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, iters: int) -> Tensor:
        batch, _, in_dim = u.shape
        out_caps, _, _, out_dim = weight.shape
        # With b = 0 the coefficients are all 1 / out_caps, and the first sums are one plain matrix product.
        first = _as_matrix(weight).t() @ (u.reshape(batch, -1).t() / out_caps)
        sums = [first.view(out_caps, out_dim, batch)]
        v_sum = v = squash(sums[0], dim=1)  # [o, e, b]
        for _ in range(iters - 1):
            s = torch.zeros_like(v)
            for _, u_part, w_part in _chunks(u, weight):
                votes = _times_capsules(w_part, v_sum, in_dim)  # W v, [o, d, i, b]
                coupling = _dot(votes, u_part).softmax(dim=0)  # over the output capsules: each i shares out exactly 1
                shares = torch.mul(coupling.unsqueeze(1), u_part, out=votes)
                s.baddbmm_(w_part.transpose(1, 2), shares.view(out_caps, -1, batch))
            sums.append(s)
            v = squash(s, dim=1)
            v_sum = v_sum + v
        ctx.save_for_backward(u, weight, *sums)
        return v.permute(2, 0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_grad: Tensor) -> tuple[Tensor, Tensor, None]:
        u, weight, *sums = ctx.saved_tensors
        with torch.autocast(u.device.type, enabled=False):
            return *_route_backward(u, weight, sums, v_grad), None


def _route_backward(u: Tensor, weight: Tensor, sums: list[Tensor], v_grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients at u and W from that at v [b, o, e], given s [o, e, b] of each iteration; axes as above."""
    batch, in_caps, in_dim = u.shape
    out_caps, _, _, out_dim = weight.shape
    u_grad, weight_grad = u.new_zeros(in_dim, in_caps, batch), torch.zeros_like(weight)
    capsules = [squash(s, dim=1) for s in sums]
    later = torch.zeros_like(sums[0])  # what the logits of later iterations ask of this iteration's v
    for iteration in range(len(sums) - 1, 0, -1):
        last = iteration == len(sums) - 1
        s_grad = _squash_backward(sums[iteration], v_grad.permute(1, 2, 0) if last else later)
        v_sum = torch.stack(capsules[:iteration]).sum(0)
        v_sum_grad = torch.zeros_like(v_sum)
        for part, u_part, w_part in _chunks(u, weight):
            # s = Σ_i (c ∘ u) W and b = u · (W v_sum): each takes its part of u's and W's gradient.
            through_sum = _times_capsules(w_part, s_grad, in_dim)
            through_logits = _times_capsules(w_part, v_sum, in_dim)
            coupling = _dot(through_logits, u_part).softmax(dim=0)
            logits_grad = coupling * _dot(through_sum, u_part)
            logits_grad -= coupling * logits_grad.sum(0)
            coupling, logits_grad = coupling.unsqueeze(1), logits_grad.unsqueeze(1)  # the same for every d
            u_grad[:, part] += through_sum.mul_(coupling).addcmul_(through_logits, logits_grad).sum(0)
            by_sum = torch.mul(coupling, u_part, out=through_sum).view(out_caps, -1, batch)
            by_logits = torch.mul(logits_grad, u_part, out=through_logits).view(out_caps, -1, batch)
            w_grad = torch.bmm(by_sum, s_grad.transpose(1, 2)).baddbmm_(by_logits, v_sum.transpose(1, 2))
            weight_grad[:, part] += w_grad.view(out_caps, in_dim, -1, out_dim).transpose(1, 2)
            v_sum_grad.baddbmm_(w_part.transpose(1, 2), by_logits)
        later = later + v_sum_grad
    s_grad = _squash_backward(sums[0], v_grad.permute(1, 2, 0) if len(sums) == 1 else later)
    s_grad = s_grad.reshape(-1, batch).t() / out_caps
    first_u_grad = (s_grad @ _as_matrix(weight).t()).view(u.shape)
    first_weight_grad = u.reshape(batch, -1).t() @ s_grad
    weight_grad += first_weight_grad.view(in_caps, in_dim, out_caps, out_dim).permute(2, 0, 1, 3)
    return first_u_grad + u_grad.permute(2, 1, 0), weight_grad


def _chunks(u: Tensor, weight: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Some input capsules at a time: which, their u as [d, i, b], their weights as [o, d * i, e]."""
    batch, in_caps, in_dim = u.shape
    out_caps = weight.shape[0]
    size = max(
        1,
        (CPU_CHUNK_BYTES if u.device.type == "cpu" else GPU_CHUNK_BYTES)
        // (out_caps * in_dim * batch * u.element_size()),
    )
    for start in range(0, in_caps, size):
        part = slice(start, start + size)
        yield part, u[:, part].permute(2, 1, 0).contiguous(), weight[:, part].transpose(1, 2).flatten(1, 2)


def _times_capsules(weight: Tensor, capsules: Tensor, in_dim: int) -> Tensor:
    """Σ_e W_oide v_oeb as [o, d, i, b]; `weight` [o, d * i, e], `capsules` [o, e, b]."""
    return torch.bmm(weight, capsules).unflatten(1, (in_dim, -1))


def _dot(votes: Tensor, u: Tensor) -> Tensor:
    """Σ_d votes_odib u_dib as [o, i, b]."""
    if votes.device.type != "cpu":
        return (votes * u).sum(1)
    total = votes[:, 0] * u[0]
    for d in range(1, len(u)):  # faster than a product that is written out and read again
        total.addcmul_(votes[:, d], u[d])
    return total


def _squash_backward(s: Tensor, v_grad: Tensor) -> Tensor:
    """Gradient at s [o, e, b] of v = s f(|s|) with f(x) = x / (1 + x²): f v_grad + s (s · v_grad) f' / |s|."""
    length = torch.linalg.vector_norm(s, dim=1, keepdim=True)
    square = length.square()
    slope = (1 - square) / (1 + square).square()
    towards = (s * v_grad).sum(1, keepdim=True) / length.clamp(min=torch.finfo(s.dtype).tiny)
    return length / (1 + square) * v_grad + s * (slope * towards)


def _as_matrix(weight: Tensor) -> Tensor:
    """[o, i, d, e] as [i * d, o * e]."""
    return weight.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)


ROUTINGS: dict[str, Routing] = {"dynamic": dynamic_routing}
"""What `routing.name` may say."""
