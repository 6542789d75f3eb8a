"""Dynamic routing: routing by agreement, without ever forming the predictions û."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..settings.routing import Dynamic
from .squash import squash, squash_backward
from .transformation import TransformationMatrices

CPU_CHUNK_BYTES = 5 << 19  # size of the largest array that routing makes: on a CPU it should stay in the cache
GPU_CHUNK_BYTES = 1 << 28  # elsewhere it should be large enough to keep every unit busy


class DynamicRouting(TransformationMatrices):
    """Output capsules by routing by agreement.

    Args:
        in_caps, in_dim: number and dimensions of the input capsules.
        out_caps, out_dim: number and dimensions of the output capsules.
        iters: routing iterations, at least 1.
    """

    def __init__(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int, iters: int = Dynamic.iters):
        super().__init__(in_caps, in_dim, out_caps, out_dim)
        if iters < 1:
            raise ValueError(f"iters={iters}: routing needs at least 1 iteration")
        self.iters = iters

    def forward(self, u: Tensor) -> Tensor:
        """[batch, in_caps, in_dim] -> [batch, out_caps, out_dim], lengths in [0, 1)."""
        return dynamic_routing(u, self.weight, self.iters)


def dynamic_routing(u: Tensor, weight: Tensor, iters: int = Dynamic.iters) -> Tensor:
    """Route input capsules to output capsules by agreement (Sabour et al. 2017, procedure 1).

    The predictions û_ij = W_ij u_i are never formed. The weighted sums s_j = Σ_i c_ij û_ij are one matrix product
    of (c ∘ u) with W, and the agreement û_ij · v_j is (W_ij v_j) · u_i. Since every iteration adds its agreement to
    the logits, and û does not change, the logits are û_ij · (v_j summed over the iterations so far). The backward
    pass keeps nothing but u, W and the s_j of each iteration, and computes the rest again. Both passes go over the
    input capsules in chunks that fit the processor's cache. The gradient cannot be differentiated again.

    Computes in float32 at least. Under bfloat16 autocast, what is multiplied with u and W is bfloat16; logits, coupling
    coefficients, sums and capsules stay float32. Gradients run through every iteration.

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
    device = u.device.type
    dtype = torch.promote_types(torch.promote_types(u.dtype, weight.dtype), torch.float32)
    use_bf16 = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    with torch.autocast(device, enabled=False):
        return _DynamicRouting.apply(u.to(dtype), weight.to(dtype), iters, torch.bfloat16 if use_bf16 else dtype)


class _DynamicRouting(torch.autograd.Function):
    """Axes: b image, i input capsule, d its dimension, o output capsule, e its dimension.

    Images come last in every array except u and v. Products with a coupling coefficient, which is the same for every d,
    then run along contiguous memory, and the part of W that belongs to a chunk of input capsules is a view.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, iters: int, factor_dtype: torch.dtype) -> Tensor:
        v, sums = _route(u, weight, iters, factor_dtype)
        ctx.save_for_backward(u, weight, *sums)
        ctx.factor_dtype = factor_dtype
        return v.permute(2, 0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        u, weight, *sums = ctx.saved_tensors
        with torch.autocast(u.device.type, enabled=False):
            return *_route_backward(u, weight, sums, v_grad, ctx.factor_dtype), None, None


def _route(u: Tensor, weight: Tensor, iters: int, factor_dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """Capsules v [o, e, b], and the sums s [o, e, b] of each iteration."""
    dtype, (out_caps, _, _, out_dim) = u.dtype, weight.shape
    u, weight = u.permute(1, 2, 0).to(factor_dtype).contiguous(), weight.to(factor_dtype)  # u as [i, d, b]
    # With b = 0 the coefficients are all 1 / out_caps, and the first sums are one plain matrix product.
    first = (_as_matrix(weight).t() @ u.flatten(0, 1)).to(dtype) / out_caps
    sums = [first.view(out_caps, out_dim, -1)]
    v_sum = v = squash(sums[0], dim=1)
    for _ in range(iters - 1):
        s, v_factor = torch.zeros_like(v), v_sum.to(factor_dtype)
        for chunk in _input_capsule_chunks(u, weight):
            u_chunk, w_chunk = u[chunk], weight[:, chunk].flatten(1, 2)
            votes = _times_capsules(w_chunk, v_factor, u_chunk)  # W v
            coupling = _dot(votes, u_chunk, dtype).softmax(dim=0)  # over the output capsules: sums to 1 for each i
            shares = torch.mul(coupling.to(factor_dtype).unsqueeze(2), u_chunk, out=votes)
            s += torch.bmm(w_chunk.transpose(1, 2), shares.flatten(1, 2))
        sums.append(s)
        v = squash(s, dim=1)
        v_sum = v_sum + v
    return v, sums


def _route_backward(
    u: Tensor, weight: Tensor, sums: list[Tensor], v_grad: Tensor, factor_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Gradients at u and W, from the gradient at v [b, o, e] and the s [o, e, b] of each iteration."""
    dtype, out_caps = u.dtype, len(weight)
    u, weight = u.permute(1, 2, 0).to(factor_dtype).contiguous(), weight.to(factor_dtype)
    u_grad, weight_grad = torch.zeros_like(u, dtype=dtype), torch.zeros_like(weight, dtype=dtype)
    capsules = [squash(s, dim=1) for s in sums]
    from_above = v_grad.permute(1, 2, 0)
    later = torch.zeros_like(sums[0])  # gradient at this iteration's v from the logits of later iterations
    for iteration in range(len(sums) - 1, 0, -1):
        s_grad = squash_backward(sums[iteration], from_above if iteration == len(sums) - 1 else later, dim=1)
        s_grad = s_grad.to(factor_dtype)
        v_sum = torch.stack(capsules[:iteration]).sum(0).to(factor_dtype)
        v_sum_grad = torch.zeros_like(later)
        for chunk in _input_capsule_chunks(u, weight):
            # s = Σ_i (c ∘ u) W and b = u · (W v_sum): each takes its part of u's and W's gradient.
            u_chunk, w_chunk = u[chunk], weight[:, chunk].flatten(1, 2)
            through_sum = _times_capsules(w_chunk, s_grad, u_chunk)
            through_logits = _times_capsules(w_chunk, v_sum, u_chunk)
            coupling = _dot(through_logits, u_chunk, dtype).softmax(dim=0)
            logits_grad = _dot(through_sum, u_chunk, dtype).mul_(coupling)
            logits_grad -= coupling * logits_grad.sum(0)
            coupling = coupling.to(factor_dtype).unsqueeze(2)  # the same for every d
            logits_grad = logits_grad.to(factor_dtype).unsqueeze(2)
            u_grad[chunk] += through_sum.mul_(coupling).addcmul_(through_logits, logits_grad).sum(0, dtype=dtype)
            by_sum = torch.mul(coupling, u_chunk, out=through_sum).flatten(1, 2)
            by_logits = torch.mul(logits_grad, u_chunk, out=through_logits).flatten(1, 2)
            w_grad = torch.bmm(by_sum, s_grad.transpose(1, 2)).baddbmm_(by_logits, v_sum.transpose(1, 2))
            weight_grad[:, chunk] += w_grad.view_as(weight[:, chunk])
            v_sum_grad += torch.bmm(w_chunk.transpose(1, 2), by_logits)
        later = later + v_sum_grad
    s_grad = squash_backward(sums[0], from_above if len(sums) == 1 else later, dim=1)
    s_grad = (s_grad / out_caps).flatten(0, 1).to(factor_dtype)
    u_grad += (_as_matrix(weight) @ s_grad).view_as(u)
    first_weight_grad = (u.flatten(0, 1) @ s_grad.t()).view(*u.shape[:2], out_caps, -1)
    weight_grad += first_weight_grad.permute(2, 0, 1, 3)
    return u_grad.permute(2, 0, 1), weight_grad


def _input_capsule_chunks(u: Tensor, weight: Tensor) -> Iterator[slice]:
    """Slices of the input capsules, as many as fit the cache; `u` [i, d, b], `weight` [o, i, d, e]."""
    most = CPU_CHUNK_BYTES if u.device.type == "cpu" else GPU_CHUNK_BYTES
    count = max(1, most // (len(weight) * u[0].numel() * u.element_size()))
    for start in range(0, len(u), count):
        yield slice(start, start + count)


def _times_capsules(weight: Tensor, capsules: Tensor, u: Tensor) -> Tensor:
    """Σ_e W_oide v_oeb as [o, i, d, b]; `weight` [o, i * d, e], `capsules` [o, e, b], `u` [i, d, b]."""
    return torch.bmm(weight, capsules).view(-1, *u.shape)


def _dot(votes: Tensor, u: Tensor, dtype: torch.dtype) -> Tensor:
    """Σ_d votes_oidb u_idb as [o, i, b]."""
    return (votes * u).sum(2, dtype=dtype)


def _as_matrix(weight: Tensor) -> Tensor:
    """[o, i, d, e] as [i * d, o * e]."""
    return weight.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
