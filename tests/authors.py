"""Results of the papers' authors' own code, which lie beside the checkout; tests without them are skipped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPO
from torch import Tensor

from capsnet.routing.windows import Windows

FOLDER = REPO.parent / "shared" / "reference"


class Results:
    """A file of results: arrays by name, as float64."""

    def __init__(self, name: str, folder: Path = FOLDER):
        path = folder / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"{path} is not there: results of the authors' code")
        self._arrays = np.load(path, allow_pickle=False)

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.asarray(self._arrays[key])).double()

    def __contains__(self, key: str) -> bool:
        return key in self._arrays.files

    def keys(self, start: str = "") -> list[str]:
        return [key for key in self._arrays.files if key.startswith(start)]


def assert_equals(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """The largest difference, as a share of the largest value, is at most the tolerance."""
    assert found.shape == expected.shape
    assert float((found.detach() - expected).abs().max() / expected.abs().max()) <= tolerance


def votes(array: Tensor) -> Tensor:
    """[b, child type i, parent type j, d, f, f, k, k] as routings have votes, [b, f * f, j, d, i * k * k]."""
    return array.permute(0, 4, 5, 2, 3, 1, 6, 7).flatten(5).flatten(1, 2)


def of_parents(array: Tensor) -> Tensor:
    """[b, j, f, f] or [b, j] -> [b, f * f, j]."""
    return array.reshape(*array.shape[:2], -1).transpose(1, 2)


def poses_of_parents(array: Tensor) -> Tensor:
    """[b, j, d, f, f] or [b, j, d] -> [b, f * f, j, d]."""
    return array.reshape(*array.shape[:3], -1).permute(0, 3, 1, 2)


def shares(array: Tensor) -> Tensor:
    """[b, i, j, f, f, k, k] -> [b, f * f, j, i * k * k]."""
    return votes(array.unsqueeze(3)).squeeze(3)


def seen(children: Tensor, kernel: int, stride: int) -> tuple[Windows, Tensor]:
    """The windows of a case, and what they see of children [b, i, F, F]."""
    windows = Windows(children.shape[2], kernel, stride)
    return windows, windows.of(children)
