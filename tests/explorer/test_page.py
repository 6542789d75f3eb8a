"""Claims about the explorer's page, in a real browser: draw, move, upload, look at the votes; nothing leaves."""

import io
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from conftest import digits_config
from explorer.browsing import bars, chromium, opened, settle, shown, slide, stroke
from explorer.serving import served
from PIL import Image

from capsnet import CapsNet, Output
from capsnet.explorer.looking import Change, changed
from capsnet.explorer.samples import Exhibit
from capsnet.networks.small_cnn import SmallCNN
from capsnet.runs.trained import TrainedModel, TrainingImages
from capsnet.training.run import train

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("browser")]

ONE = ((0.5, 0.1), (0.5, 0.9))
SEVEN = ((0.2, 0.15), (0.8, 0.15), (0.45, 0.9))


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def explorer(finished_run):
    with served(finished_run) as found:
        yield found


@pytest.fixture
def page(browser, explorer):
    found = opened(browser, explorer.address)
    yield found
    assert found.failures == []
    assert {urlsplit(url).netloc for url in found.requested if not url.startswith(("blob:", "data:"))} == {
        f"127.0.0.1:{explorer.port}"
    }
    found.context.close()


def file_of(pixels, name="picture.png"):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": content.getvalue()}


def test_a_stroke_changes_the_bars_and_the_picture(page):
    assert page.locator("#verdict").inner_text()  # before anything is drawn, a test image is shown
    before = bars(page)
    stroke(page, *ONE)
    settle(page)
    one = bars(page)
    assert one != before
    assert not page.locator("#hint").is_visible()
    seen = shown(page, "#seen")
    assert seen[14, 14] > 100
    assert seen[:, 2].max() == 0
    stroke(page, (0.2, 0.5), (0.8, 0.5))
    settle(page)
    assert bars(page) != one
    page.click("#undo")
    settle(page)
    assert bars(page) == one
    page.click("#clear")
    settle(page)
    assert "The sheet is empty" in page.locator("#message").inner_text()
    assert page.locator("#hint").is_visible()


def test_a_finger_draws_too(browser, explorer):
    page = opened(browser, explorer.address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    before = bars(page)
    page.locator("#sheet").scroll_into_view_if_needed()
    box = page.locator("#sheet").bounding_box()
    fingers = page.context.new_cdp_session(page)
    for number in range(20):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] * (0.1 + number * 0.04)}
        kind = "touchMove" if number else "touchStart"
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    settle(page)
    assert bars(page) != before
    assert shown(page, "#seen")[14, 14] > 100
    assert page.evaluate("scrollY") == 0  # the sheet does not scroll under the finger
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


def test_a_slider_of_the_capsule_changes_the_picture_and_reset_brings_it_back(page):
    before, length = shown(page, "#drawing"), page.locator("#length").inner_text()
    slide(page, "#dimension-5", 0.75)
    settle(page)
    moved = shown(page, "#drawing")
    assert not np.array_equal(moved, before)
    assert page.locator("#length").inner_text() != length
    page.wait_for_function("() => document.querySelector('#dimension').value === '4'")  # the walk is along the same one
    assert page.locator("#walk-strip button").count() == 11
    page.click("#reset")
    settle(page)
    assert np.array_equal(shown(page, "#drawing"), before)
    page.locator("#walk-strip button").first.click()
    settle(page)
    assert page.locator("#dimension-5").input_value() == "-0.75"


def test_another_class_shows_what_its_own_capsule_draws(page):
    before = shown(page, "#drawing")
    page.locator("#classes button[aria-pressed=false]").first.click()
    settle(page)
    assert not np.array_equal(shown(page, "#drawing"), before)
    page.click("#follow")
    settle(page)
    assert np.array_equal(shown(page, "#drawing"), before)


def test_a_test_image_is_chosen_turned_and_brought_back(page, explorer):
    page.click("#tab-samples")
    page.select_option("#sample-class", "7")
    settle(page)
    chosen = page.locator("#samples button").nth(3)
    number = int(chosen.get_attribute("title").removeprefix("Test image ").split(":")[0]) - 1
    assert chosen.get_attribute("title").endswith(": 7")
    chosen.click()
    settle(page)
    pixels = explorer.exhibit.test_images.images[number].numpy()
    assert np.array_equal(shown(page, "#seen"), pixels[0])
    before = bars(page)
    slide(page, "#rotation", 60)
    settle(page)
    assert bars(page) != before
    expected = changed(pixels, Change(rotation=60))[0].numpy()
    assert np.abs(shown(page, "#seen") / 255 - expected).max() < 0.003
    page.click("#unchange")
    settle(page)
    assert bars(page) == before
    page.check("#swap")
    settle(page)
    assert np.array_equal(shown(page, "#seen"), 255 - pixels[0])


def test_an_upload_is_shown_and_what_is_no_picture_is_explained(page, explorer):
    page.click("#tab-upload")
    pixels = np.kron(explorer.exhibit.test_images.images[9, 0].numpy(), np.ones((3, 3), np.uint8))
    page.set_input_files("#file", file_of(pixels))
    settle(page)
    assert np.array_equal(shown(page, "#seen"), explorer.exhibit.model.pixels(pixels)[0])
    before = bars(page)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"nothing"})
    settle(page)
    assert "This file is not a picture in a known format" in page.locator("#message").inner_text()
    assert bars(page) == before


def test_the_way_between_two_pictures_starts_at_the_one_that_is_kept(page):
    stroke(page, *ONE)
    settle(page)
    one = shown(page, "#seen")
    page.click("#keep")
    page.click("#clear")
    stroke(page, *SEVEN)
    settle(page)
    strip = "#between-rows .strip >> nth=0"
    assert page.locator(strip).locator("canvas").count() == 11
    assert np.array_equal(shown(page, f"{strip} >> canvas >> nth=0"), one)
    assert np.array_equal(shown(page, f"{strip} >> canvas >> nth=10"), shown(page, "#seen"))


def test_the_votes_are_mapped_iteration_by_iteration(page):
    page.click("#votes summary")
    page.locator("#maps figcaption").last.wait_for()
    captions = page.locator("#maps figcaption").all_inner_texts()
    assert [caption.split(":")[0] for caption in captions] == ["Iteration 1", "Iteration 2"]
    pushes = shown(page, "#maps canvas >> nth=1")
    page.click("#show-shares")
    settle(page)
    assert not np.array_equal(shown(page, "#maps canvas >> nth=1"), pushes)
    assert not np.array_equal(shown(page, "#maps canvas >> nth=0"), shown(page, "#maps canvas >> nth=1"))
    assert "6 × 6 places, each 17 pixels wide" in page.locator("#window-why").inner_text()
    page.locator("#classes button[aria-pressed=false]").first.click()
    settle(page)
    assert page.locator("#votes-class").inner_text() == "0"


def test_two_characters_are_chosen_moved_with_the_mouse_and_drawn_over_each_other(browser, tmp_path):
    train(digits_config(task="overlap", trainer__max_epochs=1), tmp_path)
    with served(tmp_path) as explorer:
        page = opened(browser, explorer.address)
        assert page.locator("#verdict b").count() == 2
        assert page.locator("#classes .winner").count() == 2
        assert page.locator("#apart canvas").count() == 3  # both over the picture, and each by itself
        page.click("#tab-samples")
        singles = []
        for label in ("1", "0"):
            page.select_option("#sample-class", label)
            settle(page)
            chosen = page.locator("#samples button").nth(0)
            number = int(chosen.get_attribute("title").removeprefix("Test image ").split(":")[0]) - 1
            singles.append(np.pad(explorer.exhibit.test_images.images[number, 0].numpy().astype(int), 4))
            chosen.click()
        settle(page)
        before, seen = bars(page), shown(page, "#seen")
        page.locator("#seen").scroll_into_view_if_needed()
        box = page.locator("#seen").bounding_box()
        pixel, (row, column) = box["width"] / 36, np.argwhere(seen > 200)[0]
        page.mouse.move(box["x"] + (column + 0.5) * pixel, box["y"] + (row + 0.5) * pixel)
        page.mouse.down()
        page.mouse.move(box["x"] + (column + 4.5) * pixel, box["y"] + (row + 0.5) * pixel, steps=4)
        page.mouse.up()
        settle(page)
        one, other = singles
        assert np.array_equal(seen, np.minimum(one + other, 255))
        moved = shown(page, "#seen")
        right = [np.roll(some, 4, axis=1) for some in singles]
        assert any(np.array_equal(moved, np.minimum(a + b, 255)) for a, b in ((right[0], other), (one, right[1])))
        assert bars(page) != before
        page.click("#tab-draw")
        stroke(page, *ONE)
        stroke(page, *SEVEN)
        settle(page)
        assert not np.array_equal(shown(page, "#seen"), moved)
        assert page.locator("#apart .numbers > span").count() == 2 * 16
        assert page.failures == []
        page.context.close()


def test_two_windows_keep_their_own_pictures(browser, explorer):
    first, second = opened(browser, explorer.address), opened(browser, explorer.address)
    stroke(first, *ONE)
    stroke(second, *SEVEN)
    for page in (first, second):
        settle(page)
    assert not np.array_equal(shown(first, "#seen"), shown(second, "#seen"))
    kept, other = bars(first), bars(second)
    slide(second, "#rotation", 45)
    settle(second)
    assert bars(first) == kept
    assert bars(second) != other
    for page in (first, second):
        page.context.close()


def test_a_network_without_capsules_says_what_it_cannot_show(browser):
    about = TrainingImages((1, 28, 28), tuple("0123456789"), (0.0, 0.0))
    model = TrainedModel(SmallCNN((1, 28, 28), 10), about, logits=True)
    characters = tuple("〇一二三四五六七八九")
    with served(Exhibit(model, "a plain network", characters, None, "the folder is lost", None)) as plain:
        page = opened(browser, plain.address)
        stroke(page, *SEVEN)
        settle(page)
        names = page.locator("#classes .name").all_inner_texts()
        assert names[:2] == ["〇 0", "一 1"]
        assert sum(map(float, bars(page))) == pytest.approx(1, abs=0.06)
        assert "no capsules" in page.locator("#capsule-note").inner_text()
        page.click("#votes summary")
        assert "no routing" in page.locator("#votes-note").inner_text()
        page.click("#tab-samples")
        assert "no test images to choose from: the folder is lost" in page.locator("#samples-note").inner_text()
        assert not page.locator("#walk").is_visible()
        assert page.failures == []
        page.context.close()


class Undrawn(torch.nn.Module):
    """A capsule network without a decoder."""

    def __init__(self):
        super().__init__()
        self.inner = CapsNet(conv_channels=2, primary_capsules=1)

    def forward(self, images, labels=None):
        return Output(*self.inner(images)[:2])


def test_a_network_without_a_decoder_shows_its_numbers_alone(browser):
    about = TrainingImages((1, 28, 28), tuple("0123456789"), (0.0, 0.0))
    model = TrainedModel(Undrawn(), about, logits=False)
    with served(Exhibit(model, "no decoder", None, None, "the folder is lost", None)) as undrawn:
        page = opened(browser, undrawn.address)
        stroke(page, *SEVEN)
        settle(page)
        assert "no decoder" in page.locator("#capsule-note").inner_text()
        numbers = page.locator("#dimensions output").all_inner_texts()
        assert len(numbers) == 16
        assert set(numbers) != {"0.00"}
        for part in ("#drawing", "#walk", "#between", "#classes canvas >> nth=0"):
            assert not page.locator(part).is_visible()
        assert page.failures == []
        page.context.close()


def test_the_page_says_that_the_explorer_has_ended(browser, finished_run):
    with served(finished_run) as ended:
        page = opened(browser, ended.address)
    slide(page, "#rotation", 10)
    settle(page)
    assert "Is it still running in the terminal?" in page.locator("#message").inner_text()
    page.context.close()
