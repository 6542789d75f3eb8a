"""How the capsules of one layer choose the capsules of the next.

`build` makes a routing of vectors, `build_matrices` one of capsules with a pose and an activation; an option has one of
them, or both.
"""

from dataclasses import dataclass

from .setting import setting

COMPETITION = (
    "who competes for a child: parents of all types and positions, types at one position, or positions of a type"
)
COMPETITIONS = ("parents", "types", "positions")


@dataclass
class Dynamic:
    """Routing by agreement (Sabour et al. 2017, procedure 1)."""

    iters: int = setting(3, "routing iterations", at_least=1, at_most=1000)
    bias: bool = setting(False, "learn a bias of the output capsules, as the authors' code does")
    leaky: bool = setting(False, "a share of each input capsule may go to no output capsule, as in the authors' code")

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.dynamic import DynamicRouting

        return DynamicRouting(in_caps, in_dim, out_caps, out_dim, **vars(self))


@dataclass
class Uniform:
    """All coupling coefficients equal: no routing, the baseline."""

    sums_to_one = True  # over the classes, of the activations of matrix capsules

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.uniform import UniformRouting

        return UniformRouting(in_caps, in_dim, out_caps, out_dim)

    def build_matrices(self, children: int, types: int, dim: int):
        from ..routing.uniform import UniformMatrixRouting

        return UniformMatrixRouting(children, types, dim)


@dataclass
class Attention:
    """Self-attention of the votes, without iterations (Mazzia, Salvetti & Chiaberge 2021)."""

    scale: str = setting(
        "in_dim",
        "the agreement is divided by the root of the input capsules' dimensions, as in the paper, or of the output"
        " capsules', as in its authors' code",
        one_of=("in_dim", "out_dim"),
    )

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.attention import AttentionRouting

        return AttentionRouting(in_caps, in_dim, out_caps, out_dim, **vars(self))


@dataclass
class Static:
    """Learned couplings that are the same for all images: the control for what routing adds."""

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.static import StaticRouting

        return StaticRouting(in_caps, in_dim, out_caps, out_dim)


@dataclass
class Em:
    """EM routing (Hinton, Sabour & Frosst 2018, procedure 1)."""

    iters: int = setting(3, "routing iterations", at_least=1, at_most=1000)
    final_lambda: float = setting(0.05, "λ of iteration t is this times 1 - 0.95^t; the paper's is 0.01", above=0)
    start: str = setting(
        "parents",
        "a child is first shared out evenly over the parents that it votes for, over the types of parents (at each"
        " position), or over all parents of the layer",
        one_of=("parents", "types", "all_parents"),
    )
    competition: str = setting("parents", COMPETITION, one_of=COMPETITIONS)
    damping: float = setting(
        0.0, "share of the mean before in each new one; the authors' code has 0.1", at_least=0, below=1
    )
    variance_floor: float = setting(
        1.0,
        "added to variances; large beside the first votes, so that clusters overlap at first. The authors' code has"
        " 0.0005, the paper none",
        at_least=0,
    )
    mass_floor: float = setting(
        1e-7, "added to what a parent gets, as in the authors' code; the paper has none", at_least=0
    )
    sum_floor: float = setting(
        0.0, "added to the sum that a child's shares are divided by; the authors' code has 1e-7", at_least=0
    )
    batch_norm: bool = setting(
        True,
        "normalize the parents' poses and activations, as Ribeiro et al. do, and start with small votes. The paper does"
        " neither; without, it stayed at chance in our trials",
    )

    def build_matrices(self, children: int, types: int, dim: int):
        from ..routing.em import EMRouting

        return EMRouting(children, types, dim, **vars(self))


@dataclass
class Vb:
    """Variational Bayes routing (Ribeiro, Leontidis & Kollias 2020)."""

    iters: int = setting(3, "routing iterations", at_least=1, at_most=1000)
    clamp: float = setting(
        1e-11,
        "least sum of a vote's densities under all parents; votes farther from all count less",
        at_least=0,
        below=1,
    )
    competition: str = setting("parents", COMPETITION, one_of=COMPETITIONS)

    def build_matrices(self, children: int, types: int, dim: int):
        from ..routing.vb import VariationalBayesRouting

        return VariationalBayesRouting(children, types, dim, **vars(self))


@dataclass
class Inverted:
    """Inverted dot-product attention (Tsai et al. 2020): parents' poses choose among the votes."""

    iters: int = setting(3, "passes, of which the first counts all votes alike", at_least=1, at_most=1000)
    order: str = setting(
        "concurrent",
        "of matrices: each pass goes through all layers, as the authors', or each layer does all its passes",
        one_of=("concurrent", "sequential"),
    )
    competition: str = setting("types", f"of matrices: {COMPETITION}", one_of=COMPETITIONS)
    sums_to_one = True

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        from ..routing.inverted import InvertedRouting

        return InvertedRouting(in_caps, in_dim, out_caps, out_dim, self.iters)

    def build_matrices(self, children: int, types: int, dim: int):
        from ..routing.inverted import InvertedMatrixRouting

        return InvertedMatrixRouting(children, types, dim, **vars(self))


@dataclass
class Self:
    """Self-routing (Hahn, Pyeon & Kim 2019): each child chooses its parents from its own pose."""

    sums_to_one = True

    def build_matrices(self, children: int, types: int, dim: int):
        from ..routing.self_routing import SelfRouting

        return SelfRouting(children, types, dim)


@dataclass
class NoRouting:
    """For networks without capsules."""

    def build(self, in_caps: int, in_dim: int, out_caps: int, out_dim: int):
        raise ValueError("routing=none: a capsule network needs a routing")


OPTIONS = {
    "dynamic": Dynamic,
    "attention": Attention,
    "uniform": Uniform,
    "static": Static,
    "inverted": Inverted,
    "em": Em,
    "vb": Vb,
    "self": Self,
    "none": NoRouting,
}
