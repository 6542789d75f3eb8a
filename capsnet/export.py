"""Export a trained network to ONNX, for programs that have neither this project nor PyTorch.

  python -m capsnet.export RUN

RUN is the folder of a run, or a checkpoint file. Into the folder go model.onnx, from images to scores and capsules,
and, of a network that draws, decoder.onnx, from capsules to images. Both take batches of any size. They are compared
with the network on the test images first, and not written if they differ by more than 0.0001.

  --to DIR         write them to another folder
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
from typing import NoReturn

from capsnet.cli.program import run_program, start_logging
from capsnet.errors import ConfigError, ExportError
from capsnet.files import atomic_write
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (python -m capsnet.export --help says more)")


def _parse(given: Sequence[str]) -> argparse.Namespace:
    if not given or {"-h", "--help"} & set(given):
        print(__doc__.strip())
        sys.exit(0)
    parser = _Parser(usage=__doc__, add_help=False, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", type=Path)
    parser.add_argument("--to", metavar="DIR", type=Path)
    settings = [argument for argument in given if argument.startswith(("plugin=", "data.root="))]
    arguments = parser.parse_args([argument for argument in given if argument not in settings])
    values = dict(setting.split("=", 1) for setting in settings)
    arguments.plugin, arguments.root = values.get("plugin"), values.get("data.root")
    if not arguments.run.exists():
        raise ConfigError(f"{arguments.run}: there is no such run or checkpoint")
    arguments.to = arguments.to or (arguments.run if arguments.run.is_dir() else arguments.run.parent)
    if not arguments.to.is_dir():
        raise ConfigError(f"--to {arguments.to}: there is no such folder")
    if not os.access(arguments.to, os.W_OK):
        raise ConfigError(f"{arguments.to} cannot be written; name another folder by --to DIR")
    if not all(map(importlib.util.find_spec, NEEDED)):
        raise ConfigError("exporting needs more packages: pip install 'capsnet[export]'")
    return arguments


if __name__ == "__main__":
    run_program(main)
