"""The F1 score."""

from .counts import Confusion


class F1(Confusion):
    """F1 score of each class, 2 TP / (2 TP + FP + FN), and of these the mean over the classes.

    A class that has no images and was never predicted does not count.
    """

    def compute(self) -> dict[str, float]:
        confusion = self.known()
        named = confusion.sum(0) + confusion.sum(1)
        counted = named > 0
        return {"f1": float((2 * confusion.diagonal()[counted] / named[counted]).mean())}
