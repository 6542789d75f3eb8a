"""Kuzushiji-MNIST."""

from torchvision.datasets import KMNIST

from .idx import IdxSource, release_of

CLASS_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CLASS_CHARACTERS = ("お", "き", "す", "つ", "な", "は", "ま", "や", "れ", "を")
OTHER_HANDS = (
    "The test images of Kuzushiji-MNIST are by other hands than the training and validation images, so they are harder."
)

# Digests of the official release's uncompressed files.
DIGESTS = {
    "train-images-idx3-ubyte": "md5:92be26ec9822e900ac425d0a0aa84ced",
    "train-labels-idx1-ubyte": "sha256:2a16eeae62da984b8bd24fa32e31d47291f01dac3fe84d5594f304f71e7d374b",
    "t10k-images-idx3-ubyte": "sha256:76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
    "t10k-labels-idx1-ubyte": "sha256:a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
}


def kmnist(root: str = "data", download: bool = True, mirror: str | None = None) -> IdxSource:
    """70,000 images of ten hiragana in cursive script (Clanuwat et al. 2018, arXiv:1812.01718)."""
    source = IdxSource(release_of(KMNIST, DIGESTS), root, download, mirror, CLASS_NAMES, CLASS_CHARACTERS)
    source.note = OTHER_HANDS
    return source
