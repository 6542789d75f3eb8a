"""Damaged pictures of every format: cut off, with flipped bits, with another ending, empty, and with HTML inside.

Each is refused by its name or read as a picture. None crashes the program, and none takes longer than the limit.

python tests/campaigns/pictures.py --count 2000
"""

import argparse
import io
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns.files import cut, flipped

from capsnet.data.folder import Folder
from capsnet.data.pictures import pixels_or_reason
from capsnet.errors import DataError

LIMIT = 10  # seconds for one file
SIDE = 28
ENDINGS = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "GIF": "gif", "TIFF": "tif", "WEBP": "webp"}
HTML = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>404</body></html>"


def flipped_head(content: bytes, chance: random.Random) -> bytes:
    return flipped(content, chance, within=64)


def empty(content: bytes, chance: random.Random) -> bytes:
    return b""


def html(content: bytes, chance: random.Random) -> bytes:
    return HTML


def html_after_the_head(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(4, len(content))
    return content[:at] + HTML + content[at + len(HTML) :]


def another_ending(content: bytes, chance: random.Random) -> bytes:
    return content  # its name is chosen in `damaged_folder`


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(cut, flipped, flipped_head, empty, html, html_after_the_head, another_ending),
)


def whole_pictures(chance: random.Random) -> dict[str, list[bytes]]:
    """Pictures in several modes, by format: gray, color, palette, transparent, 16 bits, turned, compressed TIFF."""
    noise = np.random.default_rng(chance.randrange(2**32)).integers(0, 256, (40, 56, 4), dtype=np.uint8)
    color = Image.fromarray(noise[..., :3])
    gray, palette, clear = color.convert("L"), color.quantize(16), Image.fromarray(noise)
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 8
    found: dict[str, list[bytes]] = {}
    for name in ENDINGS:
        pictures = {"JPEG": [gray, color], "GIF": [gray, palette], "BMP": [gray, color, palette]}
        for picture in pictures.get(name, [gray, color, palette, clear, deep]):
            if name == "WEBP" and picture in (palette, deep):
                continue
            options: list[dict[str, object]] = [{}]
            if name in ("JPEG", "PNG", "TIFF", "WEBP"):
                options.append({"exif": exif})
            if name == "TIFF":
                options += [{"compression": method} for method in ("tiff_lzw", "tiff_deflate", "packbits")]
            for option in options:
                file = io.BytesIO()
                picture.save(file, name, **option)
                found.setdefault(name, []).append(file.getvalue())
    return found


def damaged_folder(root: Path, count: int, chance: random.Random) -> dict[str, str]:
    """Write damaged pictures into the classes a and b, and whole ones; gives what was done, by name below the root."""
    whole = whole_pictures(chance)
    done = {}
    for number in range(count):
        name, damage = list(ENDINGS)[number % len(ENDINGS)], DAMAGES[number // len(ENDINGS) % len(DAMAGES)]
        ending = chance.choice(list(ENDINGS.values())) if damage is another_ending else ENDINGS[name]
        path = root / "ab"[number % 2] / f"{number}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damage(chance.choice(whole[name]), chance))
        done[str(path.relative_to(root))] = f"{name}, {damage.__name__}"
    for number, content in enumerate(whole["PNG"] * 2):
        (root / "ab"[number % 2] / f"whole{number}.png").write_bytes(content)
    return done


def too_long(*_: object) -> None:
    raise AssertionError(f"a file took longer than {LIMIT} seconds")


def campaign(count: int, root: Path, chance: random.Random) -> tuple[Counter[str], float]:
    """Outcomes of `count` damaged pictures, and the longest time that one took, in seconds."""
    done, outcomes, longest, refused = damaged_folder(root, count, chance), Counter(), 0.0, {}
    signal.signal(signal.SIGALRM, too_long)
    for name, what in done.items():
        signal.alarm(LIMIT)
        began = time.perf_counter()
        found = pixels_or_reason(root / name, SIDE, SIDE)
        longest = max(longest, time.perf_counter() - began)
        signal.alarm(0)
        if isinstance(found, str):
            assert found, name
            assert "\n" not in found, name
            refused[name] = found
        else:
            assert found.dtype == np.uint8, name
            assert found.shape in ((1, SIDE, SIDE), (3, SIDE, SIDE)), name
        assert ("another_ending" in what) <= (name not in refused), (name, found)
        outcomes[f"{what}: {'refused' if name in refused else 'read'}"] += 1
    check_folder(root, count, refused)
    return outcomes, longest


def check_folder(root: Path, count: int, refused: dict[str, str]) -> None:
    """As a folder of images, the same files are refused by name, or left out."""
    settings = {"test_size": 0.2, "image_size": SIDE, "channels": None, "cache": None}
    try:
        Folder(str(root), skip_broken=False, **settings).prepare()
    except DataError as error:
        assert f"{len(refused):,} files cannot be used" in str(error)
        assert sum(name in str(error) for name in refused) >= min(5, len(refused))
    else:
        assert not refused
    source = Folder(str(root), skip_broken=True, **settings)
    source.prepare()
    assert source.details.get("left_out", {}) == refused
    files = sum(path.is_file() for path in root.rglob("*"))
    assert len(source.train().labels) + len(source.test().labels) == files - len(refused)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="damaged pictures")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, longest = campaign(arguments.count, Path(folder), random.Random(arguments.seed))
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6}  {outcome}")
    total = sum(outcomes.values())
    print(f"{total:6}  damaged pictures, each refused by name or read; the slowest took {longest:.2f} s")
