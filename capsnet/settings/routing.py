"""How the capsules of one layer choose the capsules of the next."""

from dataclasses import dataclass

from .setting import setting


@dataclass
class Dynamic:
    """Routing by agreement (Sabour et al. 2017, procedure 1)."""

    iters: int = setting(3, "routing iterations", at_least=1, at_most=1000)

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.dynamic import DynamicRouting

        return DynamicRouting(in_caps, in_dim, out_caps, out_dim, **vars(self))


@dataclass
class Uniform:
    """All coupling coefficients equal: no routing, the baseline."""

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.uniform import UniformRouting

        return UniformRouting(in_caps, in_dim, out_caps, out_dim)


@dataclass
class Attention:
    """Self-attention of the votes, without iterations (Mazzia, Salvetti & Chiaberge 2021)."""

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.attention import AttentionRouting

        return AttentionRouting(in_caps, in_dim, out_caps, out_dim)


@dataclass
class NoRouting:
    """For networks without capsules."""

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        raise ValueError("routing=none: a capsule network needs a routing")


OPTIONS = {"dynamic": Dynamic, "attention": Attention, "uniform": Uniform, "none": NoRouting}
