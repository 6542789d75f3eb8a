"""Odd uploads and drawings, given to the explorer's page in several browser windows in turn, while others ask as well.

Each is answered on the page: with the picture as the network reads it, or with a message that says why not. The server
goes on answering, and no window shows another's picture.

python tests/campaigns/odd_pictures.py --count 1000
"""

import argparse
import io
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns.files import flipped
from campaigns.pictures import DAMAGES, whole_pictures
from conftest import only_run, run_command
from explorer.browsing import bars, chromium, opened, settle, shown, stroke
from explorer.serving import Served, encoded, served

from capsnet.data.pictures import BrokenPictureError
from capsnet.explorer.drawings import prepared_upload
from capsnet.explorer.server import MOST_BYTES

WINDOWS, ASKING = 3, 2


def _png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def _claims_many_pixels(chance: random.Random) -> bytes:
    """A PNG file whose head claims more pixels than are read."""
    content = bytearray(_png(np.zeros((4, 4), np.uint8)))
    content[16:24] = (200_000).to_bytes(4, "big") * 2
    return bytes(content)


UPLOADS: dict[str, Callable[[random.Random], bytes]] = {
    "empty": lambda chance: b"",
    "not an image": lambda chance: chance.randbytes(chance.randint(1, 5000)),
    "text": lambda chance: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "too many bytes": lambda chance: bytes(MOST_BYTES + 1),
    "too many pixels": _claims_many_pixels,
    "large": lambda chance: _png(np.full((2000, 3000), chance.randrange(256), np.uint8)),
    "all black": lambda chance: _png(np.zeros((50, 50), np.uint8)),
    "all white": lambda chance: _png(np.full((50, 50), 255, np.uint8)),
    "1 pixel": lambda chance: _png(np.full((1, 1), chance.randrange(256), np.uint8)),
    "a thin line": lambda chance: _png(np.asarray(chance.choices(range(256), k=3000), np.uint8)[None]),
    "noise": lambda chance: _png(np.frombuffer(chance.randbytes(90 * 70 * 3), np.uint8).reshape(90, 70, 3)),
    "flipped bits": lambda chance: flipped(_png(np.zeros((40, 40), np.uint8)), chance),
}


def damaged(chance: random.Random) -> bytes:
    """A picture of any format, whole or damaged in any way."""
    whole = chance.choice(chance.choice(list(whole_pictures(random.Random(0)).values())))
    return chance.choice(DAMAGES)(whole, chance)


def upload(page: Any, served: Served, kind: str, chance: random.Random) -> str:
    content = damaged(chance) if kind == "damaged" else UPLOADS[kind](chance)
    page.evaluate("document.querySelector('#message').hidden = true")
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(content)
        file.flush()
        page.set_input_files("#file", file.name)
        settle(page)
    message = page.locator("#message").inner_text() if page.locator("#message").is_visible() else ""
    try:
        assert len(content) <= MOST_BYTES
        expected = prepared_upload(served.exhibit.model, content)
    except (BrokenPictureError, AssertionError):
        assert message, kind
        return f"upload, {kind}: refused with a message"
    assert np.array_equal(shown(page, "#seen"), expected[0]), kind
    return f"upload, {kind}: shown{' with a message' if message else ''}"


def draw(page: Any, served: Served, kind: str, chance: random.Random) -> str:
    page.click("#tab-draw")
    page.click("#clear")
    settle(page)
    places = {
        "empty": [],
        "a dot": [[(0.5, 0.5), (0.5, 0.5)]],
        "over the edge": [[(0.5, 0.5), (chance.uniform(-0.4, 0), chance.uniform(-0.2, 1))]],
        "all black": [[(x / 8, 0), (x / 8, 1)] for x in range(9)],
        "a scribble": [[(chance.random(), chance.random()) for _ in range(12)]],
    }[kind]
    for line in places:
        stroke(page, *line)
    settle(page)
    empty = page.locator("#message").is_visible() and "The sheet is empty" in page.locator("#message").inner_text()
    assert empty == (not places), kind
    assert (shown(page, "#seen").max() > 0) == bool(places), kind
    return f"drawing, {kind}: {'a message' if empty else 'shown'}"


def keep_asking(served: Served, seed: int, ended: threading.Event, failed: list[str]) -> None:
    """Another session: always the same question, which must always have the same answer."""
    pixels = np.random.default_rng(seed).integers(0, 256, 784).astype(np.uint8)
    question = {"pixels": encoded(pixels)}
    _, first = served.ask("/look", question)
    while not ended.wait(0.1):
        status, answer = served.ask("/look", question)
        if status != 200 or not np.allclose(answer["scores"], first["scores"], atol=1e-4):
            failed.append(f"session {seed}: {status}")


def campaign(count: int, run: Path, chance: random.Random) -> Counter[str]:
    """Outcomes of `count` odd uploads and drawings."""
    outcomes: Counter[str] = Counter()
    ended, failed = threading.Event(), []
    kinds = [(upload, kind) for kind in [*UPLOADS, *["damaged"] * 6]]
    kinds += [(draw, kind) for kind in ("empty", "a dot", "over the edge", "all black", "a scribble")]
    with served(run) as found, chromium() as browser:
        pages = [opened(browser, found.address) for _ in range(WINDOWS)]
        threads = [threading.Thread(target=keep_asking, args=(found, seed, ended, failed)) for seed in range(ASKING)]
        for thread in threads:
            thread.start()
        try:
            for number in range(count):
                page = pages[number % WINDOWS]
                act, kind = kinds[number % len(kinds)]
                outcomes[act(page, found, kind, chance)] += 1
                assert page.failures == []
                assert len(bars(page)) == 10
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert failed == []
        assert found.ask("/about")[0] == 200
    return outcomes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="uploads and drawings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="a run to explore; otherwise one is trained on digits")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run
        if run is None:
            small = ("data=digits", "trainer.max_epochs=1", "trainer=cpu", "figures=false", "model.conv_channels=8")
            assert run_command("train.py", *small, "model.primary_capsules=2", cwd=Path(folder)).returncode == 0
            run = only_run(Path(folder))
        outcomes = campaign(arguments.count, run, random.Random(arguments.seed))
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6}  {outcome}")
    print(f"{sum(outcomes.values()):6}  uploads and drawings, each answered on the page")
