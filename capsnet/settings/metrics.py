"""What is measured beside the loss, in training, validation and test: `metrics=[accuracy,f1]`."""

from dataclasses import dataclass

from .combination import Combination
from .setting import Setting


@dataclass
class Accuracy:
    """Share of the images that are recognized."""

    def build(self):
        from ..metrics.accuracy import Accuracy

        return Accuracy()


@dataclass
class BalancedAccuracy:
    """Mean over the classes of the share of their images that are recognized."""

    def build(self):
        from ..metrics.balanced_accuracy import BalancedAccuracy

        return BalancedAccuracy()


@dataclass
class Top3:
    """Share of the images whose class is among the three with the largest scores."""

    def build(self):
        from ..metrics.top3 import Top3

        return Top3()


@dataclass
class F1:
    """F1 score, mean over the classes."""

    def build(self):
        from ..metrics.f1 import F1

        return F1()


@dataclass
class Calibration:
    """Expected calibration error of the scores (Guo et al. 2017): 0 is best."""

    lower_is_better = True

    def build(self):
        from ..metrics.calibration import Calibration

        return Calibration()


# A class says `lower_is_better = True` if the lowest value is best, and `also = (NAME, ...)` if its metric measures
# more than its own name. It says `several_classes = True` if its metric takes targets with several classes an image.
OPTIONS: dict[str, type] = {
    "accuracy": Accuracy,
    "balanced_accuracy": BalancedAccuracy,
    "top3": Top3,
    "f1": F1,
    "calibration": Calibration,
}


@dataclass
class Metrics(Combination):
    default = ("accuracy",)
    purpose = Setting(trained=False, hyperparameter=False)
