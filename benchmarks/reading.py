"""Reading a folder of many small images: the first time, and from the cache; time and peak memory.

    python benchmarks/reading.py                     100,000 PNG files of 28x28 pixels in ten classes

The images are KMNIST-7k's, each with some noise, so that no two are the same. Each line comes from a process of its own
that does what training does before its first step: it finds, reads and splits the images. "before" is the process's
memory with everything loaded and nothing read.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from memory import MIB, peak_bytes, resident_bytes
from PIL import Image
from report import print_headline, save_results

from capsnet.data.kmnist_7k import KMNIST7k
from capsnet.settings.parse import config_from_dict


def make_folder(root: Path, count: int) -> None:
    """Write `count` images into the folders of their classes."""
    source = KMNIST7k()
    source.prepare()
    images, labels = source.train()
    random = np.random.default_rng(0)
    for name in source.class_names:
        (root / name).mkdir(parents=True)
    for number in range(count):
        pixels = images[number % len(images), 0].numpy()
        noisy = pixels ^ random.integers(0, 4, pixels.shape, dtype=np.uint8)
        name = source.class_names[labels[number % len(images)]]
        Image.fromarray(noisy).save(root / name / f"{number}.png", compress_level=1)


def read_here(root: str, cache: str | None) -> dict[str, float]:
    """Read the images in this process."""
    settings = {"data": "folder", "data.root": root, "data.cache": cache}
    dataset = config_from_dict({}, settings).data.build()
    before, began = resident_bytes("VmRSS"), time.perf_counter()
    dataset.read_training_images()
    dataset.read_test_images()
    seconds = time.perf_counter() - began
    images = sum(split.images.numel() for split in (dataset.train_split, dataset.val_split, dataset.test_split))
    return {"seconds": seconds, "before": before / MIB, "peak": peak_bytes("cpu") / MIB, "images": images / MIB}


def read_apart(root: Path, cache: Path | None) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--read", str(root), *(["--cache", str(cache)] if cache else [])]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/reading.json"))
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(read_here(arguments.read, arguments.cache)))
        return
    print_headline("cpu")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "images"), Path(folder, "cache")
        make_folder(root, arguments.count)
        print(f"{'':<18}{'seconds':>9}{'images, MiB':>13}{'before, MiB':>13}{'peak, MiB':>11}")
        for name, where in (("first time", cache), ("from the cache", cache), ("without a cache", None)):
            found = read_apart(root, where)
            rows.append({"read": name, **found})
            figures = f"{found['images']:>13,.0f}{found['before']:>13,.0f}{found['peak']:>11,.0f}"
            print(f"{name:<18}{found['seconds']:>9.1f}{figures}", flush=True)
    save_results(arguments.json, "cpu", rows, count=arguments.count)


if __name__ == "__main__":
    main()
