"""Squashing and routing: how the capsules of one layer choose the capsules of the next.

Axes: b image, i input capsule, d its dimension, o output capsule, e its dimension.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .config import RoutingConfig

Routing = Callable[[Tensor, Tensor, int], Tensor]
"""(u [batch, in_caps, in_dim], weight [out_caps, in_caps, in_dim, out_dim], iters) -> [batch, out_caps, out_dim]"""


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
    the logits, and û does not change, the logits are û_ij · (v_j summed over the iterations so far).

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
        return _route(u.to(dtype), weight.to(dtype), iters)


def _route(u: Tensor, weight: Tensor, iters: int) -> Tensor:
    batch, in_caps, in_dim = u.shape
    out_caps, _, _, out_dim = weight.shape
    w = weight.reshape(out_caps, in_caps * in_dim, out_dim)

    uniform = u.reshape(1, batch, in_caps * in_dim) / out_caps
    v = squash(torch.matmul(uniform, w))  # [out_caps, batch, out_dim]
    v_sum = v
    for _ in range(iters - 1):
        wv = torch.bmm(v_sum, w.transpose(1, 2)).view(out_caps, batch, in_caps, in_dim)
        logits = (wv * u).sum(-1)  # b_ij, [out_caps, batch, in_caps]
        coupling = logits.softmax(dim=0)  # over the output capsules: each input capsule shares out exactly 1
        shares = (coupling.unsqueeze(-1) * u).view(out_caps, batch, in_caps * in_dim)
        v = squash(torch.bmm(shares, w))
        v_sum = v_sum + v
    return v.transpose(0, 1)


ROUTINGS: dict[str, Routing] = {"dynamic": dynamic_routing}
"""What `routing.name` may say."""
