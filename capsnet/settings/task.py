"""What is learned."""

from dataclasses import dataclass

from .setting import setting


@dataclass
class Classify:
    """One class for each image."""

    monitor = "accuracy"

    def build(self):
        from ..tasks.classify import Classify

        return Classify()


@dataclass
class Overlap:
    """Two characters on top of each other, both to be named and drawn (Sabour et al. 2017, section 6)."""

    monitor = "exact_match"
    also = ("per_character", "held_out_exact_match")
    several_classes = True

    shift: int = setting(4, "pixels by which each character is moved at most, along each axis", at_least=0)
    pad: int | None = setting(
        None, "pixels of canvas on each side of the images; null: as many as shift, so nothing is cut off", at_least=0
    )
    pairs_per_image: int = setting(
        1, "training pairs in an epoch of which an image is the first", at_least=1, evaluated=False
    )
    test_pairs_per_image: int = setting(
        5, "the same in validation and test; these pairs are the same for everyone", at_least=1
    )
    train: str = setting(
        "pairs",
        "single: the training has single characters, only the test has pairs",
        one_of=("pairs", "single"),
        evaluated=False,
    )
    held_out_pairs: float = setting(
        0.0, "share of the pairs of classes that the training never shows; they are tested apart", at_least=0, below=1
    )

    dark_ink: bool = setting(False, "ink is dark on a light ground, as on paper; otherwise bright on black")

    def build(self):
        from ..tasks.overlap import Overlap

        return Overlap(**vars(self))


# A class says `monitor = NAME` for what tells the best epoch unless `monitor=` does, and `also = (NAME, ...)` for what
# else it measures; all are better if they are higher, but for those in `lower_is_better = (NAME, ...)`. It says
# `several_classes = True` if an image has several.
OPTIONS: dict[str, type] = {"classify": Classify, "overlap": Overlap}
