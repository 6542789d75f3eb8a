"""Claims about drawings and uploads: they reach the network as `capsnet.predict` would read them, or in the middle."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from capsnet.explorer.drawings import centred, ink_box, prepared_drawing, prepared_upload, usual_extent


def png(picture):
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def sheet(top, left, bottom, right, size=280):
    """White strokes on black."""
    pixels = np.zeros((size, size), np.uint8)
    pixels[top:bottom, left:right] = 255
    return Image.fromarray(pixels)


def test_an_upload_is_read_as_predict_reads_the_file(model, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8))
    picture.save(tmp_path / "picture.jpg")
    found = prepared_upload(model, (tmp_path / "picture.jpg").read_bytes())
    assert np.array_equal(found, model.pixels(tmp_path / "picture.jpg"))


def test_a_drawing_that_is_not_fitted_stays_where_it_is(model):
    picture = sheet(10, 10, 90, 50)
    assert np.array_equal(prepared_drawing(model, png(picture), None), model.pixels(picture))


@pytest.mark.parametrize(("box", "inverted"), [((10, 10, 130, 50), False), ((200, 30, 220, 240), True)])
def test_a_fitted_drawing_is_in_the_middle_and_as_large_as_asked(model, box, inverted):
    picture = sheet(*box)
    if inverted:
        picture = Image.fromarray(255 - np.asarray(picture))
    top, left, bottom, right = ink_box(prepared_drawing(model, png(picture), 0.7)[0])
    assert abs((top + bottom) / 2 - 14) <= 1
    assert abs((left + right) / 2 - 14) <= 1
    assert abs(max(bottom - top, right - left) - 0.7 * 28) <= 1.5  # pixels that are partly ink count as ink


def test_a_dot_stays_a_dot(model):
    top, left, bottom, right = ink_box(prepared_drawing(model, png(sheet(5, 5, 25, 25)), 0.8)[0])
    assert (top + bottom, left + right) == (28, 28)
    assert bottom - top == right - left <= 5


def test_an_oblong_network_gets_a_drawing_that_fits_its_shorter_side():
    fitted = np.asarray(centred(sheet(40, 40, 240, 240), 1.0, (20, 60)))
    assert fitted.shape == (200, 600)
    assert ink_box(np.pad(fitted, 1)) == (1, 201, 201, 401)


def test_an_empty_sheet_stays_empty(model):
    assert not prepared_drawing(model, png(sheet(0, 0, 0, 0)), 0.8).any()


def test_the_usual_extent_is_that_of_the_images():
    images = torch.zeros(3, 1, 20, 20, dtype=torch.uint8)
    images[0, 0, 5:15, 8:10] = 255
    images[1, 0, 2:4, 4:16] = 255
    assert usual_extent(images[:1]) == pytest.approx(0.5)
    assert usual_extent(images) == pytest.approx(0.5)  # the empty one does not count; the median of two is the lower
    assert 0 < usual_extent(images[2:]) <= 1
