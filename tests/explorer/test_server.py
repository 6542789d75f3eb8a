"""Claims about the explorer's server: it answers what the page asks, refuses the rest, and mixes nobody's pictures."""

import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from explorer.serving import decoded, encoded, served
from PIL import Image

from capsnet.explorer import server
from capsnet.explorer.looking import Change, look
from capsnet.explorer.samples import SHOWN, Exhibit, chosen_samples
from capsnet.networks.small_cnn import SmallCNN
from capsnet.runs.trained import TrainedModel, TrainingImages

SHAPE = (1, 28, 28)
UNCHANGED = {"rotation": 0, "right": 0, "down": 0, "size": 1}


@pytest.fixture(scope="module")
def explorer(finished_run):
    with served(finished_run) as found:
        yield found


@pytest.fixture(scope="module")
def pixels(explorer):
    return explorer.exhibit.test_images.images[3].numpy()


@pytest.fixture(scope="module")
def plain():
    """An explorer of a network that has neither capsules nor test images."""
    about = TrainingImages(SHAPE, tuple("0123456789"), (0.9, 0.1))
    model = TrainedModel(SmallCNN(SHAPE, 10), about, logits=True)
    with served(Exhibit(model, "a plain network", tuple("〇一二三四五六七八九"), None, "lost", None)) as found:
        yield found


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_the_page_is_served_with_its_script_and_style(explorer):
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        status, content, headers = explorer.request(path)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert content
        assert "default-src 'self'" in headers["content-security-policy"]
    for name in ("page.html", "page.js", "page.css"):
        text = (server.resources.files("capsnet.explorer") / "page" / name).read_text(encoding="utf-8")
        assert "://" not in text.replace("http://www.w3.org/", "")


def test_nothing_but_the_page_is_served(explorer):
    for path in ("/page.html", "/../pyproject.toml", "/%2e%2e/server.py", "/page/../../server.py", "//etc/passwd"):
        assert explorer.request(path)[0] == 404


def test_another_sites_page_cannot_ask(explorer):
    assert explorer.request("/about", Origin="http://elsewhere.example")[0] == 403
    assert explorer.request("/about", Host="elsewhere.example")[0] == 400
    assert explorer.request("/about", Origin=explorer.address)[0] == 200
    assert explorer.request("/about", Host="localhost:9999", Origin="http://localhost:9999")[0] == 200  # through ssh


def test_about_says_what_the_network_can_do(explorer, plain):
    status, about = explorer.ask("/about")
    assert status == 200
    assert (about["dimensions"], about["decoder"], about["routing"], about["samples"]) == (16, True, True, 360)
    assert re.fullmatch(r"capsnet on digits: test accuracy \d\d\.\d\d%", about["title"])
    assert [one["name"] for one in about["classes"]] == list("0123456789")
    _, about = plain.ask("/about")
    assert (about["dimensions"], about["decoder"], about["routing"], about["samples"]) == (None, False, False, 0)
    assert about["whyNoSamples"] == "lost"
    assert about["lightPaper"]
    assert about["classes"][3] == {"name": "3", "character": "三"}


def test_a_look_is_what_the_network_says(explorer, pixels):
    change = {"rotation": 20, "right": 0.1, "down": 0, "size": 1.2}
    status, found = explorer.ask("/look", {"pixels": encoded(pixels), "change": change})
    assert status == 200
    expected = look(explorer.exhibit.model, pixels, Change(20, 0.1, 0, 1.2))
    torch.testing.assert_close(torch.tensor(found["scores"]), expected.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(found["capsules"]), expected.capsules, rtol=1e-4, atol=1e-5)
    assert np.abs(decoded(found["seen"], SHAPE) / 255 - expected.seen.numpy()).max() < 0.003
    assert np.abs(decoded(found["drawings"][0], SHAPE) / 255 - expected.drawings[0].numpy()).max() < 0.003


def test_moving_walking_and_going_between_agree_with_each_other(explorer, pixels):
    _, found = explorer.ask("/look", {"pixels": encoded(pixels), "change": UNCHANGED})
    label = found["drawn"][0]
    capsule = found["capsules"][label]
    _, drawn = explorer.ask("/draw", {"label": label, "capsule": capsule})
    assert drawn["drawing"] == found["drawings"][0]
    _, walked = explorer.ask("/walk", {"label": label, "capsule": capsule, "dimension": 4, "limit": 0.5})
    moved = [*capsule[:4], walked["values"][2], *capsule[5:]]
    _, drawn = explorer.ask("/draw", {"label": label, "capsule": moved})
    assert np.abs(decoded(drawn["drawing"], SHAPE).astype(int) - decoded(walked["drawings"][2], SHAPE)).max() <= 1
    _, way = explorer.ask("/between", {"label": label, "first": capsule, "second": moved})
    assert np.abs(decoded(way["drawings"][-1], SHAPE).astype(int) - decoded(drawn["drawing"], SHAPE)).max() <= 1


def test_votes_have_a_map_for_every_iteration(explorer, pixels):
    status, votes = explorer.ask("/votes", {"pixels": encoded(pixels), "change": UNCHANGED, "label": 3})
    assert status == 200
    assert (votes["grid"], votes["window"], len(votes["lengths"])) == ([6, 6], 17, 2)
    for kind in ("shares", "pushes"):
        assert votes[kind]["low"] <= votes[kind]["high"]
        assert [decoded(one, (28, 28)).shape for one in votes[kind]["maps"]] == [(28, 28)] * 2


def test_samples_are_test_images_of_the_class(explorer):
    images = explorer.exhibit.test_images
    status, samples = explorer.ask("/samples", {"label": 7, "page": 0})
    assert status == 200
    assert len(samples) == SHOWN
    for sample in samples:
        assert sample["label"] == 7
        assert np.array_equal(decoded(sample["pixels"], SHAPE), images.images[sample["number"]].numpy())
    seen = {number for page in range(100) for number in chosen_samples(images, 7, page)}
    assert len(seen) == int((images.labels == 7).sum())


def test_an_upload_and_a_drawing_become_pixels(explorer, pixels):
    for path in ("/upload", "/drawing"):
        status, found = explorer.ask(path, png(pixels[0]))
        assert (status, found["note"]) == (200, None)
        assert np.array_equal(decoded(found["pixels"], SHAPE), pixels)
    assert explorer.ask("/fitted-drawing", png(pixels[0]))[0] == 200
    assert "one color all over" in explorer.ask("/upload", png(np.zeros((50, 50), np.uint8)))[1]["note"]
    assert "other way round" in explorer.ask("/upload", png(255 - pixels[0]))[1]["note"]


def test_an_upload_that_is_not_a_picture_or_too_large_gets_a_reason(explorer):
    for content, status, message in (
        (b"", 415, "This file is empty."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "This file is no picture but an XML or SVG file."),
        (bytes(server.MOST_BYTES + 1), 413, "too large; 20 MiB are the most"),
    ):
        found = explorer.ask("/upload", content)
        assert found[0] == status
        assert message in found[1]["message"]


def test_a_network_without_capsules_answers_what_it_can(plain):
    question = {"pixels": encoded(np.full(784, 200, np.uint8)), "change": UNCHANGED, "label": 0}
    status, found = plain.ask("/look", question)
    assert (status, found["capsules"], found["drawings"]) == (200, None, [])
    assert sum(found["scores"]) == pytest.approx(1, abs=1e-4)
    for path, message in (("/votes", "no routing"), ("/draw", "no decoder"), ("/samples", "no test images: lost")):
        status, answer = plain.ask(path, {**question, "capsule": [], "page": 0})
        assert status == 404
        assert message in answer["message"]


def test_many_sessions_at_once_get_each_their_own_answers(explorer):
    images = explorer.exhibit.test_images.images[:40].numpy()
    questions = [{"pixels": encoded(pixels), "change": UNCHANGED, "label": 0} for pixels in images]
    for path, compared in (("/look", "scores"), ("/votes", "lengths")):
        alone = [explorer.ask(path, question)[1][compared] for question in questions]
        with ThreadPoolExecutor(12) as pool:
            together = list(pool.map(lambda question: explorer.ask(path, question)[1][compared], questions))  # noqa: B023
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
        assert len({json.dumps(one) for one in alone}) > 30


@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("/look", b"not JSON"),
        ("/look", {"pixels": "AAAA"}),
        ("/draw", {"label": 99, "capsule": [0] * 16}),
        ("/walk", {"label": 1, "capsule": [0] * 15 + [None], "dimension": 0, "limit": 1}),
        ("/samples", {"page": None}),
    ],
)
def test_what_the_page_does_not_ask_is_an_error_and_the_server_goes_on(explorer, pixels, caplog, path, question):
    status, answer = explorer.ask(path, question)
    assert (status, answer["message"]) == (500, "Something went wrong; the terminal says what.")
    assert f"{path} failed" in caplog.text
    assert explorer.ask("/look", {"pixels": encoded(pixels)})[0] == 200
