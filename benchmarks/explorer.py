"""How quickly the explorer's page answers: from a slider's change to the new picture, and from a stroke to the bars.

Drives the page of a run in headless Chromium. Each time is from the event in the page to the moment when the page has
drawn the answer; the screen shows it with its next frame.

python benchmarks/explorer.py RUN_DIR
"""

import argparse
import contextlib
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import sync_playwright

SLIDER = """([slider, canvas, value]) => new Promise((done) => {
  let began;
  const watcher = new MutationObserver(() => {
    watcher.disconnect();
    done(performance.now() - began);
  });
  watcher.observe(canvas, { attributes: true, attributeFilter: ["data-painted"] });
  began = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
})"""
WATCH = """([sheet, seen]) => {
  window.times = [];
  let began = null;
  sheet.addEventListener("pointermove", () => (began ??= performance.now()), true);
  new MutationObserver(() => {
    if (began !== null) window.times.push(performance.now() - began);
    began = null;
  }).observe(seen, { attributes: true, attributeFilter: ["data-painted"] });
}"""


@contextlib.contextmanager
def explored(run: str) -> Iterator[Any]:
    """The explorer's page in a browser."""
    command = [sys.executable, "-m", "capsnet.explore", run, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as driver:
        try:
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(address)
            page.wait_for_function("() => document.body.dataset.ready && document.body.ariaBusy !== 'true'")
            yield page
            browser.close()
        finally:
            server.terminate()


def slider_times(page: Any, count: int) -> list[float]:
    canvas = page.query_selector("#drawing")
    found = []
    for number in range(count):
        slider = page.query_selector(f"#dimension-{number % 16 + 1}")
        found.append(page.evaluate(SLIDER, [slider, canvas, str(-0.7 + 1.4 * number / count)]))
        page.wait_for_timeout(30 + number % 7 * 10)  # the walk's pictures, too, are asked for in between
    return found


def stroke_times(page: Any, count: int) -> list[float]:
    page.evaluate(WATCH, [page.query_selector("#sheet"), page.query_selector("#seen")])
    box = page.query_selector("#sheet").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    for number in range(count):
        across, along = number * 7 % 240, number * 7 // 240 * 20
        page.mouse.move(box["x"] + 20 + across, box["y"] + 20 + along)
        page.wait_for_timeout(30 + number % 7 * 10)
    page.mouse.up()
    page.wait_for_timeout(500)
    return page.evaluate("window.times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    with explored(arguments.run) as page:
        for name, times in (
            ("slider to picture", slider_times(page, arguments.count)),
            ("stroke to bars", stroke_times(page, arguments.count)),
        ):
            late = statistics.quantiles(times, n=20)[-1]
            print(f"{name:18} {len(times):4} times  median {statistics.median(times):6.1f} ms  95 % {late:6.1f} ms")


if __name__ == "__main__":
    main()
