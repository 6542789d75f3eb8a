"""Kuzushiji-49."""

import io
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..text import on_one_line
from .idx import IdxSource
from .released import Release

CLASS_CHARACTERS = tuple(
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわゐゑをんゝ"
)
CLASS_NAMES = (
    *("a", "i", "u", "e", "o", "ka", "ki", "ku", "ke", "ko", "sa", "shi", "su", "se", "so", "ta", "chi", "tsu", "te"),
    *("to", "na", "ni", "nu", "ne", "no", "ha", "hi", "fu", "he", "ho", "ma", "mi", "mu", "me", "mo", "ya", "yu", "yo"),
    *("ra", "ri", "ru", "re", "ro", "wa", "wi", "we", "wo", "n", "iteration"),
)

FILES = (("k49-train-imgs.npz", "k49-train-labels.npz"), ("k49-test-imgs.npz", "k49-test-labels.npz"))
SERVER = "http://codh.rois.ac.jp/kmnist/dataset/k49/"
MD5 = {
    "k49-train-imgs.npz": "7ac088b20481cf51dcd01ceaab89d821",
    "k49-train-labels.npz": "44a8e1b893f81e63ff38d73cad420f7a",
    "k49-test-imgs.npz": "d352e201d846ce6b94f42c990966f374",
    "k49-test-labels.npz": "4da6f7a62e67a832d5eb1bd85c5ee448",
}
"""Of the official release."""


class K49Source(IdxSource):
    """The source of `data=k49`. Its files are NumPy's."""

    @staticmethod
    def array(path: Path, content: bytes, rank: int, remedy: str) -> np.ndarray:
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = arrays["arr_0"]
        except Exception as error:  # zipfile, zlib and NumPy raise errors of many kinds for damaged content
            raise DataError(f"{path}: cannot be read ({on_one_line(error)[:100]}); {remedy}") from error
        kind = "images of 28x28 bytes" if rank == 3 else "labels"
        if found.dtype != np.uint8 or found.ndim != rank or found.shape[1:] != (28, 28)[: rank - 1] or not len(found):
            raise DataError(f"{path}: not {kind} (shape {list(found.shape)}, {found.dtype}); {remedy}")
        return found


def k49(root: str = "data", download: bool = True, mirror: str | None = None) -> K49Source:
    """270,912 images of 49 hiragana in cursive script, in unbalanced classes (Clanuwat et al. 2018)."""
    release = Release("K49", (SERVER,), tuple(MD5.items()), FILES)
    return K49Source(release, root, download, mirror, CLASS_NAMES, CLASS_CHARACTERS)
