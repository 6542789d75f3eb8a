"""Export a trained network to ONNX, for programs that have neither this project nor PyTorch.

  python -m capsnet.export RUN

RUN is the folder of a run, a checkpoint file, or kmnist_7k, a model that comes with the project. model.onnx leads from
images to scores and capsules; decoder.onnx, if the network draws, from capsules to images. They are written to the
folder, for batches of any size, once they have been compared with the network on the test images: scores, capsules and
drawings may differ by 0.0001.

  --to DIR         write them to another folder; of kmnist_7k, they are written to the current one
  data.root=DIR    the test images are in another folder than in training
  plugin=FILE.py   options from a file of your own, if the run was trained with it

docs/export.md shows how to use them.
"""

import capsnet.cli.loading  # noqa: F401 (must come first)

# isort: split

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from capsnet.cli.program import run_program, start_logging
from capsnet.cli.run_parser import RunParser
from capsnet.errors import ConfigError, ExportError
from capsnet.files import atomic_write
from capsnet.runs.shipped import is_shipped
from capsnet.text import counted, relative

NEEDED = ("onnx", "onnxscript", "onnxruntime")
NAMES = ("model.onnx", "decoder.onnx")
RANDOM_IMAGES = 250  # to compare with, if there are no test images


def main() -> None:
    arguments = _parse(sys.argv[1:])
    start_logging()
    import torch  # only if the arguments are right

    from capsnet.runs.onnx_files import BATCH, TOLERANCE, compare, to_onnx
    from capsnet.runs.opened import open_run

    opened = open_run(arguments.run, arguments.plugin, arguments.root)
    print(f"{opened.title}, from {relative(arguments.run)}", flush=True)
    files = to_onnx(opened.model, opened.title)
    if opened.test_images is not None:
        kind, images = "test image", opened.test_images.images
    else:
        print(f"compared on random images, since there are no test images: {opened.why_none}")
        images = torch.randint(256, (RANDOM_IMAGES, *opened.model.image_shape), dtype=torch.uint8)
        kind = "random image"
    found = compare(files, opened.model, images)
    if not found.difference <= TOLERANCE:
        raise ExportError(f"what was exported differs from the network by {found.difference:.1e}, so it is not written")
    for name, content in zip(NAMES, files, strict=True):
        if content is not None:
            with atomic_write(arguments.to / name) as draft:
                draft.write_bytes(content)
            print(f"  {relative(arguments.to / name)}  {len(content) / 1e6:.1f} MB")
    others = f"{found.other_predictions:,} other" if found.other_predictions else "the same"
    print(f"  {counted(found.images, kind)}: {others} predictions; largest difference {found.difference:.1e}")
    speeds = f"PyTorch {found.network_speed:,.0f}, ONNX Runtime {found.file_speed:,.0f}"
    print(f"  images per second, in batches of {min(BATCH, found.images)}: {speeds}")


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = RunParser("capsnet.export", __doc__, settings=("plugin", "data.root"))
    parser.add_argument("--to", metavar="DIR", type=Path)
    arguments = parser.parse(given)
    own = arguments.run if arguments.run.is_dir() else arguments.run.parent
    arguments.to = arguments.to or (Path() if is_shipped(own) else own)
    if not arguments.to.is_dir():
        raise ConfigError(f"--to {arguments.to}: there is no such folder")
    if not os.access(arguments.to, os.W_OK):
        raise ConfigError(f"{arguments.to} cannot be written; name another folder by --to DIR")
    for path in (arguments.to / name for name in NAMES):
        if path.is_dir() or (path.exists() and not _is_own(path)):
            raise ConfigError(f"{path}: is not from this program, and would be overwritten; choose another folder")
    if not all(map(importlib.util.find_spec, NEEDED)):
        raise ConfigError("exporting needs more packages: pip install 'capsnet[export]'")
    return arguments


def _is_own(path: Path) -> bool:
    """Was an ONNX file written by this program? Its metadata say so."""
    content = path.read_bytes()
    return all(key in content for key in (b"class_names", b"image_shape", b"preprocessing"))


if __name__ == "__main__":
    run_program(main)
