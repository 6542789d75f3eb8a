"""What is minimized. A class that says `logits = True` takes a network's scores as logits."""

from dataclasses import dataclass

from ..errors import ConfigError
from .setting import setting

RECONSTRUCTION_WEIGHT = "weight of the mean squared reconstruction error; 0.392 = the paper's 0.0005 x 784 pixels"


@dataclass
class Margin:
    """Margin loss (Sabour et al. 2017, eq. 4), plus the reconstruction loss if the network has a decoder."""

    m_pos: float = setting(0.9, "m+: the true class's capsule should be longer than this", at_least=0, at_most=1)
    m_neg: float = setting(0.1, "m-: the other classes' capsules should be shorter than this", at_least=0, at_most=1)
    down_weight: float = setting(0.5, "λ: weight of the loss for absent classes", at_least=0)
    reconstruction_weight: float = setting(0.392, RECONSTRUCTION_WEIGHT, at_least=0)

    def check(self) -> None:
        """Raise ConfigError if the margins contradict each other."""
        if self.m_neg >= self.m_pos:
            raise ConfigError(f"loss.m_neg={self.m_neg}: must be below loss.m_pos={self.m_pos}")

    def build(self):
        from ..losses import MarginLoss

        return MarginLoss(**vars(self))


@dataclass
class CrossEntropy:
    """Softmax cross-entropy of the scores, plus the reconstruction loss if the network has a decoder.

    Lengths of capsules, up to 1, make poor logits: for ten classes, the loss stays above 1.46. Activations of capsules
    that have some are taken as probabilities instead, in proportion to each other.
    """

    logits = True

    label_smoothing: float = setting(0.0, "share of the target spread evenly over all classes", at_least=0, below=1)
    activations: str = setting(
        "probabilities",
        "what activations of class capsules are taken as; Ribeiro et al. take them as logits",
        one_of=("probabilities", "logits"),
    )
    reconstruction_weight: float = setting(0.392, RECONSTRUCTION_WEIGHT, at_least=0)

    def build(self):
        from ..losses import CrossEntropyLoss

        return CrossEntropyLoss(**vars(self))


@dataclass
class Spread:
    """Spread loss (Hinton et al. 2018): the true class's score should exceed each other one by a growing margin."""

    first_margin: float = setting(0.2, "m at the beginning", at_least=0, at_most=1)
    last_margin: float = setting(0.9, "m when it has grown", at_least=0, at_most=1)
    growth: float = setting(0.5, "share of the training's steps during which m grows", at_least=0, at_most=1)
    reconstruction_weight: float = setting(0.392, RECONSTRUCTION_WEIGHT, at_least=0)

    def build(self):
        from ..losses import SpreadLoss

        return SpreadLoss(**vars(self))


OPTIONS = {"margin": Margin, "cross_entropy": CrossEntropy, "spread": Spread}
