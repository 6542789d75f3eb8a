"""Export a trained network to ONNX, for programs that have neither this project nor PyTorch.

  python -m capsnet.export RUN

RUN is the folder of a run, a checkpoint file, or kmnist_7k, a model that comes with the project. model.onnx maps
images to scores and capsules, and decoder.onnx capsules to images, if there is a decoder. They take batches of any
size. They are written to the folder of the run, or of the checkpoint, once they have been compared with the network on
the test images: scores, capsules and drawings may differ by 0.0001.

  --to DIR         write them to another folder; for kmnist_7k, the default is the current one
  data.root=DIR    the test images are in another folder than in training
  plugin=FILE.py   options from a file of your own, if the run was trained with it

docs/export.md shows how to use them.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capsnet.cli.program import run_program, start_logging
from capsnet.cli.run_parser import RunParser
from capsnet.errors import ConfigError, ExportError
from capsnet.files import atomic_write, user_path
from capsnet.runs.shipped import is_shipped
from capsnet.text import counted, relative

if TYPE_CHECKING:  # load torch
    from torch import Tensor

    from capsnet.runs.onnx_files import Comparison
    from capsnet.runs.opened import OpenedRun

NEEDED = ("onnx", "onnxscript", "onnxruntime")
NAMES = ("model.onnx", "decoder.onnx")
RANDOM_IMAGES = 250  # to compare with, if there are no test images


def main() -> None:
    arguments = _parse(sys.argv[1:])
    start_logging()
    from capsnet.runs.onnx_files import (  # load torch, so only if the arguments are right
        TOLERANCE,
        compare_with_network,
        to_onnx,
    )
    from capsnet.runs.opened import open_run

    opened = open_run(arguments.run, arguments.plugin, arguments.root)
    print(f"{opened.title}, from {relative(arguments.run)}", flush=True)
    batches, kind = _images_to_compare(opened)
    files = to_onnx(opened.model, opened.title)
    comparison = compare_with_network(files, opened.model, batches)
    if not comparison.difference <= TOLERANCE:
        raise ExportError(
            f"what was exported differs from the network by {comparison.difference:.1e}, so it is not written"
        )
    for name, content in zip(NAMES, files, strict=True):
        _write(arguments.to / name, content)
    _report(comparison, kind)


def _images_to_compare(opened: "OpenedRun") -> tuple["Iterable[Tensor]", str]:
    """Batches of images to show to the network and to the files, and what they are."""
    import torch

    if batches := opened.test_batches():
        return (images for images, _ in batches), "test image"
    print(f"compared on random images, since there are no test images: {opened.why_no_test_images}")
    return [torch.rand(RANDOM_IMAGES, *opened.model.image_shape)], "random image"


def _write(path: Path, content: bytes | None) -> None:
    """Write a file. If the network has nothing for it, remove the one that another network has left there."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as draft:
        draft.write_bytes(content)
    print(f"  {relative(path)}  {len(content) / 1e6:.1f} MB")


def _report(comparison: "Comparison", kind: str) -> None:
    others = comparison.other_predictions
    predictions = f"{counted(others, 'prediction')} differ" if others else "the same predictions"
    print(f"  {counted(comparison.images, kind)}: {predictions}; largest difference {comparison.difference:.1e}")
    print(f"  images per second: PyTorch {comparison.network_speed:,.0f}, ONNX Runtime {comparison.file_speed:,.0f}")


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = RunParser("capsnet.export", __doc__, settings=("plugin", "data.root"))
    parser.add_argument("--to", metavar="DIR", type=user_path)
    arguments = parser.parse(given)
    folder = arguments.run if arguments.run.is_dir() else arguments.run.parent
    arguments.to = arguments.to or (Path() if is_shipped(folder) else folder)
    if not arguments.to.is_dir() or not os.access(arguments.to, os.W_OK):
        raise ConfigError(f"--to {arguments.to}: there is no such folder, or it cannot be written; choose another")
    for path in (arguments.to / name for name in NAMES):
        if path.exists() and not _is_own(path):
            raise ConfigError(f"{path}: was not written by this program; choose another folder with --to DIR")
    if not all(map(importlib.util.find_spec, NEEDED)):
        raise ConfigError("exporting needs more packages: pip install 'capsnet[export]'")
    return arguments


def _is_own(path: Path) -> bool:
    """Was an ONNX file written by this program? Its metadata say so."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return all(key in content for key in (b"class_names", b"image_shape", b"preprocessing"))


if __name__ == "__main__":
    run_program(main)
