"""Folders of pictures as people have them: does each network learn them with the settings of `data=folder`?

    python benchmarks/folder.py                                              every set, network and seed: many hours
    python benchmarks/folder.py --sets white black --sizes 60 --seeds 0      a part of it

Each row of the table is a set of pictures, made here without a download:

- white, black: colored drawings of a ball, a box or a star, of any size and anywhere, on white or on black;
- scenes: the same drawings, each before a crop of one of scikit-learn's two sample photographs;
- photographs: crops of these two photographs, which are the two classes;
- letters26, letters62, letters100: characters in Pillow's font, of any size and a little turned, anywhere.

Of N pictures of a class, a fifth is left out, as `data=folder` does without test/. The test is on 300 other pictures,
or on ten of each class. Runs that are there already, in the folder of the results, are not repeated, so an interrupted
benchmark goes on.
"""

import argparse
import math
import statistics
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from report import print_headline, save_results

from capsnet import compose
from capsnet.files import read_json
from capsnet.runs.folder import RECORD_FILE
from capsnet.text import columns

SIDE = 64
SHAPES = ("ball", "box", "star")
CHARACTERS = (
    string.ascii_uppercase + string.ascii_lowercase + string.digits + "ÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåçèéêëìí"
)
SETS = ("white", "black", "scenes", "photographs", "letters26", "letters62", "letters100")
NETWORKS = ("pooled_capsnet", "small_cnn", "small_capsnet", "efficient_capsnet", "res_capsnet")
TESTED = 300  # pictures


def drawing(shape: str, ground: Image.Image, random: np.random.Generator) -> Image.Image:
    """A ball, a box or a star of any color, size, place and angle on a ground."""
    fine = 4  # times the resolution, for smooth edges
    picture = ground.resize((SIDE * fine, SIDE * fine))
    radius = random.uniform(7, 26)
    x, y = random.uniform(radius, SIDE - radius, 2) * fine
    radius *= fine
    turn = random.uniform(0, 2 * math.pi)
    color = tuple(random.integers(0, 256, 3).tolist())
    pen = ImageDraw.Draw(picture)
    if shape == "ball":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    else:
        corners, reach = (4, (1.0,)) if shape == "box" else (10, (1.0, 0.45))
        places = [(turn + 2 * math.pi * k / corners, radius * reach[k % len(reach)]) for k in range(corners)]
        pen.polygon([(x + far * math.cos(angle), y + far * math.sin(angle)) for angle, far in places], fill=color)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def letter(character: str, random: np.random.Generator) -> Image.Image:
    """A character in dark on white, of any size and place, turned by up to 12 degrees."""
    sheet, font = Image.new("L", (SIDE, SIDE), 255), ImageFont.load_default(size=int(random.integers(18, 40)))
    left, top, right, bottom = font.getbbox(character)
    tile = Image.new("L", (round(right - left) + 2, round(bottom - top) + 2), 0)
    ImageDraw.Draw(tile).text((1 - left, 1 - top), character, fill=255, font=font)
    tile = tile.rotate(random.uniform(-12, 12), expand=True, resample=Image.Resampling.BICUBIC)
    place = tuple(int(random.integers(0, max(1, SIDE - side))) for side in tile.size)
    sheet.paste(int(random.integers(0, 100)), place, tile)
    return sheet


def crop(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
    """A square of a photograph, of any size and place."""
    side = int(random.integers(SIDE, 200))
    left, top = (int(random.integers(0, length - side)) for length in photograph.size)
    return photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def pictures(name: str, count: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """`count` pictures of each class of a set, with their classes."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(seed)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    if name.startswith("letters"):
        for character in CHARACTERS[: int(name.removeprefix("letters"))]:
            yield from ((f"U+{ord(character):04X}", letter(character, random)) for _ in range(count))
    elif name == "photographs":
        for title, photograph in zip(("china", "flower"), photographs, strict=True):
            yield from ((title, crop(photograph, random)) for _ in range(count))
    else:
        for shape in SHAPES:
            for _ in range(count):
                scene = crop(photographs[random.integers(2)], random) if name == "scenes" else None
                yield shape, drawing(shape, scene or Image.new("RGB", (SIDE, SIDE), name), random)


def make_folder(root: Path, name: str, count: int, seed: int) -> None:
    """train/CLASS/ with four fifths of `count` pictures, and test/CLASS/ with others."""
    classes = int(name.removeprefix("letters")) if name.startswith("letters") else 2 if name == "photographs" else 3
    for part, number in (("train", count * 4 // 5), ("test", max(10, TESTED // classes))):
        for place, (class_name, picture) in enumerate(pictures(name, number, 2 * seed + (part == "test"))):
            (root / part / class_name).mkdir(parents=True, exist_ok=True)
            picture.save(root / part / class_name / f"{place}.png")


def test_accuracy(root: Path, name: str, count: int, network: str, seed: int, more: list[str]) -> float:
    """Of one training, from its record if it is there already."""
    from capsnet.training.run import train

    data, run = root / "pictures" / f"{name}_{count}_{seed}", root / f"{name}_{count}_{network}_{seed}"
    if not (run / RECORD_FILE).exists() or read_json(run / RECORD_FILE)["status"] != "completed":
        if not data.exists():
            make_folder(data, name, count, seed)
        overrides = ["data=folder", f"data.root={data}", "data.cache=null", f"seed={seed}", f"model={network}"]
        config = compose(*overrides, "figures=false", "logger=none", "trainer.enable_progress_bar=false", *more)
        run.mkdir(parents=True, exist_ok=True)
        train(config, run, overrides, resume=(run / RECORD_FILE).exists())
    return read_json(run / RECORD_FILE)["metrics"]["test/accuracy"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[60, 300], help="pictures of a class")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings beside the defaults")
    parser.add_argument("--json", type=Path, default=Path("outputs/benchmarks/folder/results.json"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    print_headline("cpu")
    found: dict[tuple[str, int, str], list[float]] = {}
    for seed in arguments.seeds:
        for size in arguments.sizes:
            for name in arguments.sets:
                for network in arguments.networks:
                    accuracy = test_accuracy(arguments.json.parent, name, size, network, seed, arguments.set)
                    found.setdefault((name, size, network), []).append(accuracy)
                    print(f"{name}, {size} a class, {network}, seed {seed}: {accuracy:.1%}", flush=True)
    cells = [["pictures", "a class", *arguments.networks]]
    for name in arguments.sets:
        for size in arguments.sizes:
            row = [found[name, size, network] for network in arguments.networks]
            cells.append([name, str(size), *(_mean(accuracies) for accuracies in row)])
    print(f"\n{columns(cells)}")
    rows = [
        {"set": key[0], "size": key[1], "network": key[2], "test_accuracy": values} for key, values in found.items()
    ]
    save_results(arguments.json, "cpu", rows, seeds=arguments.seeds, settings=arguments.set)


def _mean(accuracies: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    spread = f" ± {statistics.stdev(accuracies):.1%}" if len(accuracies) > 1 else ""
    return f"{statistics.mean(accuracies):.1%}{spread}"


if __name__ == "__main__":
    main()
