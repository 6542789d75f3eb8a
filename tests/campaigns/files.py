"""Damaged files: every KMNIST file and a checkpoint, cut off and with flipped bits at random places.

A damaged file must be refused by its name, or be read with a warning that it is not the official one, or be as it was.

python tests/campaigns/files.py --count 1000
"""

import argparse
import hashlib
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import make_kmnist

from capsnet import CapsNet
from capsnet.data import kmnist, released
from capsnet.errors import CheckpointError, DataError
from capsnet.runs.checkpoints import read_checkpoint
from capsnet.training.checkpoint_io import AtomicCheckpointIO


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random, within: int | None = None) -> bytes:
    """With one to three bits flipped, among the first `within` bytes."""
    damaged = bytearray(content)
    for at in chance.sample(range(min(within or len(content), len(content))), chance.randint(1, 3)):
        damaged[at] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def flipped_head(content: bytes, chance: random.Random) -> bytes:
    return flipped(content, chance, within=16)


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, flipped, flipped_head)


def damage_data(folder: Path, count: int, chance: random.Random) -> Counter:
    """`count` damages of each sort to each file of a made-up KMNIST, which stands for the official release."""
    make_kmnist(folder)
    raw = folder / "KMNIST" / "raw"
    digests = {path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in raw.iterdir()}
    outcomes, warnings = Counter(), _Warnings()
    released.log.addHandler(warnings)
    released.log.propagate = False
    try:
        with mock.patch.object(kmnist, "DIGESTS", digests):
            for path in sorted(raw.iterdir()):
                whole = path.read_bytes()
                for damage in DAMAGES:
                    for _ in range(count):
                        path.write_bytes(damage(whole, chance))
                        outcomes[f"{path.name}, {damage.__name__}: {_read_data(folder, path, warnings)}"] += 1
                path.write_bytes(whole)
            assert _read_data(folder, raw, warnings) == "as it was"
    finally:
        released.log.removeHandler(warnings)
        released.log.propagate = True
    return outcomes


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _read_data(root: Path, path: Path, warnings: _Warnings) -> str:
    warnings.said.clear()
    source = kmnist.kmnist(str(root), download=False, mirror=None)
    try:
        source.prepare()
        for images, labels in (source.train(), source.test()):
            assert len(images) == len(labels)
            assert labels.max() < 10
    except DataError as error:
        assert path.name in str(error), error
        assert "\n" not in str(error), error
        return "refused"
    if source.official:
        return "as it was"
    (said,) = warnings.said
    assert path.name in said
    return "read with a warning that it is not the official file"


def damage_checkpoint(folder: Path, count: int, chance: random.Random) -> Counter:
    """`count` damages of each sort to a checkpoint."""
    path = folder / "best.ckpt"
    network = CapsNet(conv_channels=4, primary_capsules=2)
    content = {"state_dict": network.state_dict(), "epoch": 1, "capsnet_config": {"seed": 0}}
    AtomicCheckpointIO().save_checkpoint(content, path)
    whole, before, outcomes = path.read_bytes(), read_checkpoint(path), Counter()
    for damage in DAMAGES:
        for _ in range(count):
            path.write_bytes(damage(whole, chance))
            try:
                found = "as it was" if _same(read_checkpoint(path), before) else "CHANGED WITHOUT AN ERROR"
            except CheckpointError as error:
                assert path.name in str(error), error
                assert "\n" not in str(error), error
                found = "refused"
            assert found != "CHANGED WITHOUT AN ERROR", damage
            outcomes[f"{path.name}, {damage.__name__}: {found}"] += 1
    return outcomes


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return one == other


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="damages of each sort to each file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = damage_data(Path(folder), arguments.count, chance)
        outcomes += damage_checkpoint(Path(folder), arguments.count, chance)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6}  {outcome}")
    print(f"{sum(outcomes.values()):6}  damaged files, none read as another without a warning")
