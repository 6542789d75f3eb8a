"""What is learned."""

from dataclasses import dataclass


@dataclass
class Classify:
    """One class for each image."""

    monitor = "accuracy"

    def build(self):
        from ..tasks.classify import Classify

        return Classify()


OPTIONS: dict[str, type] = {"classify": Classify}
