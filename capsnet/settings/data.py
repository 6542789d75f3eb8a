"""The datasets, and how images are split and batched."""

import re
from dataclasses import MISSING, dataclass, field
from functools import partial
from typing import Any, ClassVar

from ..errors import ConfigError
from .setting import Setting, setting

_batching = partial(setting, evaluated=False)
_location = partial(setting, trained=False, hyperparameter=False)


@dataclass
class Data:
    """Settings that every dataset has; `source` is the option itself, one of OPTIONS."""

    source: Any
    batch_size: int = _batching(64, "images per optimizer step, counted over all processes", at_least=1)
    val_size: float = _batching(
        0.1, "training images held out for validation: a share below 1, or a number of images", at_least=0
    )
    limit: int | None = _batching(None, "use only this many training images, stratified by class", at_least=1)
    class_weights: str | None = _batching(
        None, "balanced: every class counts the same in training; null: every image does", one_of=("balanced",)
    )

    normalize: str | None = setting(
        None,
        "channels: a network sees each channel minus its mean over the training images, divided by its standard"
        " deviation; null: as it is, from 0 to 1",
        one_of=("channels",),
        evaluated=False,
    )

    def build(self, seed: int = 0, trained_on: Any = None):
        """The images, split as set. See `Dataset` for what the arguments mean."""
        from ..data.dataset import Dataset
        from ..data.source import as_source

        name = next(name for name, option in OPTIONS.items() if type(self.source) is option)
        return Dataset(as_source(self.source.build(), name), name, self.val_size, self.limit, seed, trained_on)


@dataclass
class Downloaded:
    """A dataset that is downloaded on first use."""

    root: str = _location("data", "folder that holds the datasets, each in its own folder such as KMNIST/raw")
    download: bool = _location(True, "download missing files", when_saved=False)
    mirror: str | None = _location(
        None, "download from this address instead of the dataset's own server", when_saved=None
    )


@dataclass
class KMNIST(Downloaded):
    """Kuzushiji-MNIST (Clanuwat et al. 2018): 70,000 images of ten hiragana in cursive script."""

    def build(self):
        from ..data.kmnist import kmnist

        return kmnist(**vars(self))


@dataclass
class KMNIST7k:
    """KMNIST-7k: 7,011 training and 2,000 test images of KMNIST, which come with the project."""

    def build(self):
        from ..data.kmnist_7k import KMNIST7k

        return KMNIST7k()


@dataclass
class MNIST(Downloaded):
    """MNIST (LeCun et al. 1998): 70,000 handwritten digits."""

    def build(self):
        from ..data.mnist import mnist

        return mnist(**vars(self))


@dataclass
class FashionMNIST(Downloaded):
    """Fashion-MNIST (Xiao et al. 2017): 70,000 pieces of clothing."""

    def build(self):
        from ..data.fashion_mnist import fashion_mnist

        return fashion_mnist(**vars(self))


@dataclass
class K49(Downloaded):
    """Kuzushiji-49 (Clanuwat et al. 2018): 270,912 images of 49 hiragana in cursive script; classes differ in size."""

    def build(self):
        from ..data.k49 import k49

        return k49(**vars(self))


@dataclass
class CIFAR10(Downloaded):
    """CIFAR-10 (Krizhevsky 2009): 60,000 color photographs of 32x32 pixels in ten classes."""

    def build(self):
        from ..data.cifar10 import cifar10

        return cifar10(**vars(self))


@dataclass
class SVHN(Downloaded):
    """Street View House Numbers (Netzer et al. 2011): 99,289 color photographs of digits, 32x32 pixels."""

    def build(self):
        from ..data.svhn import svhn

        return svhn(**vars(self))


@dataclass
class SmallNORB(Downloaded):
    """smallNORB (LeCun, Huang & Bottou 2004): 48,600 pairs of photographs of toys, from 162 viewpoints."""

    image_size: int = setting(
        32, "height and width in pixels; the files' 96 are averaged", one_of=(24, 32, 48, 96), evaluated=False
    )
    views: str = setting(
        "all",
        "train on all views, or on six of 18 azimuths or three of nine elevations, as in the paper on matrix capsules",
        one_of=("all", "azimuth", "elevation"),
    )
    tested: str = setting(
        "novel",
        "of views=azimuth and views=elevation: test on views that were not trained, on those that were, or on all",
        one_of=("novel", "familiar", "all"),
    )

    def check(self) -> None:
        """Raise ConfigError if views are to be tested apart which are all trained."""
        if self.views == "all" and self.tested != "novel":
            raise ConfigError(f"data.tested={self.tested}: has no effect without data.views=azimuth or elevation")

    def build(self):
        from ..data.smallnorb import smallnorb

        return smallnorb(**vars(self))


@dataclass
class Idx:
    """Your own four files in MNIST's format, as they are or compressed by gzip."""

    root: str = _location(MISSING, "the folder with the files")
    train_images: str = setting("train-images-idx3-ubyte", "name of the file with the training images")
    train_labels: str = setting("train-labels-idx1-ubyte", "name of the file with their labels")
    test_images: str = setting("t10k-images-idx3-ubyte", "name of the file with the test images")
    test_labels: str = setting("t10k-labels-idx1-ubyte", "name of the file with their labels")

    def build(self):
        from ..data.idx import IdxFiles

        return IdxFiles(**vars(self))


@dataclass
class Digits:
    """scikit-learn's 1,797 handwritten digits, scaled from 8x8 to 28x28 pixels. Needs no download."""

    def build(self):
        from ..data.digits import Digits

        return Digits()


@dataclass
class Folder:
    """Your own images, in train/CLASS/ and test/CLASS/, or only in CLASS/. See docs/your-own-images.md."""

    # For small sets of pictures in which the thing may be anywhere; see benchmarks/folder.py.
    suits: ClassVar = {
        "model": "pooled_capsnet",
        "data.batch_size": 32,
        "data.normalize": "channels",
        "optimizer.schedule": "cosine",
        "trainer.max_epochs": 60,
    }

    root: str = _location(MISSING, "the folder with your images")
    test_size: float = setting(
        0.2, "images held out as test images if there is no test/: a share below 1, or a number of images", above=0
    )
    image_size: int | None = setting(
        None,
        "height and width in pixels; null: the median of the files' longer sides, but from 28 to 64",
        at_least=1,
        at_most=4096,
        evaluated=False,
    )
    channels: int | None = _batching(None, "1: gray, 3: color; null: color if an image has colors", one_of=(1, 3))
    skip_broken: bool = setting(False, "leave out files that cannot be read, rather than stop")
    group: str | None = setting(
        None,
        "a regular expression for file names: images in which it finds the same, such as a patient, stay in one part",
    )
    cache: str | None = _location(
        "auto",
        "folder that keeps what was read; auto: capsnet/ in your cache folder; null: nothing is kept",
        when_saved="auto",
    )

    def check(self) -> None:
        """Raise ConfigError if the test size is neither a share nor a number, or the group is no regular expression."""
        if self.test_size >= 1 and self.test_size != int(self.test_size):
            raise ConfigError(f"data.test_size={self.test_size}: must be a share below 1, or a whole number of images")
        try:
            re.compile(self.group or "")
        except re.error as error:
            raise ConfigError(f"data.group={self.group}: not a regular expression ({error})") from error

    def build(self):
        from ..data.folder import Folder

        return Folder(**vars(self))


@dataclass(kw_only=True)
class Table(Folder):
    """Your own images, with their classes in a table: a CSV file. See docs/your-own-images.md."""

    root: str | None = _location(None, "the folder that the files' names are in; null: that of the table")
    labels: str = _location(MISSING, "the table, a CSV file with a row for each image", trained=True)
    file_column: str = setting("file", "the column with the files' names")
    label_column: str = setting("label", "the column with their classes")
    split_column: str = setting("split", "the column with train, val or test, if there is one")
    group_column: str | None = setting(
        None, "a column; images for which it has the same value stay together in training, validation or test"
    )
    extra_columns: list[str] = field(
        default_factory=list,
        metadata={"setting": Setting("columns with numbers, which losses and metrics get as targets.extras")},
    )

    def build(self):
        from ..data.table import Table

        return Table(**vars(self))


OPTIONS = {
    "kmnist": KMNIST,
    "kmnist_7k": KMNIST7k,
    "k49": K49,
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
    "svhn": SVHN,
    "smallnorb": SmallNORB,
    "digits": Digits,
    "folder": Folder,
    "table": Table,
    "idx": Idx,
}
