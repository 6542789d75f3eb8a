"""The explorer's page in headless Chromium, moved by mouse and finger as a person would."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PIXELS = """canvas => Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)"""
QUIET = """() => document.body.dataset.ready && document.body.ariaBusy !== "true" """


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser; the test is skipped if Chromium or Playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=as_root)
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Any, address: str, **options: Any) -> Any:
    """A page of a session of its own, once it shows something. It keeps its requests and errors."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options).new_page()
    page.requested, page.failures = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("pageerror", lambda error: page.failures.append(str(error)))
    page.goto(address)
    settle(page)
    return page


def settle(page: Any) -> None:
    """Wait until the page waits for the person."""
    page.wait_for_function(QUIET)


def shown(page: Any, selector: str) -> np.ndarray:
    """What a canvas of one gray channel shows, [height, width]."""
    canvas = page.locator(selector)
    values = np.array(canvas.evaluate(PIXELS), np.uint8).reshape(-1, 4)[:, 0]
    return values.reshape(canvas.evaluate("canvas => [canvas.height, canvas.width]"))


def bars(page: Any) -> list[str]:
    """The scores beside the classes."""
    return page.locator("#classes output").all_inner_texts()


def stroke(page: Any, *points: tuple[float, float], steps: int = 4) -> None:
    """Draw a line with the mouse; places on the sheet are shares of its width and height."""
    box = page.locator("#sheet").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=steps)
    page.mouse.up()


def slide(page: Any, selector: str, value: float) -> None:
    """Move a slider, as a drag of its knob would."""
    page.locator(selector).evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", str(value)
    )
