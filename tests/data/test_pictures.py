"""Claims about reading one picture: what becomes of its colors, its size and its damages."""

import io
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from capsnet.data.pictures import (
    DEEP,
    BrokenPictureError,
    Range,
    TemporaryReason,
    has_colors,
    is_picture,
    picture_size,
    pixels_or_reason,
    read_picture,
    read_pixels,
    to_pixels,
    upright,
)

GRADIENT = np.arange(30 * 20, dtype=np.float64).reshape(30, 20) / (30 * 20)


def gray(height=30, width=20):
    return Image.fromarray((GRADIENT[:height, :width] * 255).astype(np.uint8))


def colors(height=30, width=20):
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tif", "webp"])
def test_every_format_gives_its_picture_in_gray_and_in_color(tmp_path, suffix):
    for name, picture in (("gray", gray()), ("color", colors())):
        path = tmp_path / f"{name}.{suffix}"
        picture.save(path)
        read = read_picture(path)
        assert read.size == (20, 30) == picture_size(path)
        assert has_colors(read) == (name == "color")
        if suffix in ("png", "bmp", "tif"):
            assert np.array_equal(np.asarray(read), np.asarray(picture))


def test_the_ending_of_a_name_does_not_matter_to_what_is_inside(tmp_path):
    gray().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "a.jpg")), np.asarray(gray()))


def test_a_picture_is_turned_as_its_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    colors().save(tmp_path / "turned.png", exif=exif)
    turned = np.asarray(read_picture(tmp_path / "turned.png"))
    assert np.array_equal(turned, np.rot90(np.asarray(colors()), -1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 257, 32896, 65535], [0, 1, 128, 255]),
        ([0, 16, 2056, 4095], [0, 1, 128, 255]),  # of a camera with 12 bits
        ([0, 1, 1, 0], [0, 255, 255, 0]),  # a mask
    ],
)
def test_more_than_eight_bits_become_eight_in_the_range_that_they_use(tmp_path, values, expected):
    for suffix, kind in (("png", np.uint16), ("tif", np.uint16), ("tiff", np.float32), ("tif", np.int32)):
        Image.fromarray(np.array([values], dtype=kind)).save(tmp_path / f"deep.{suffix}")
        assert read_pixels(tmp_path / f"deep.{suffix}", 1, 4).tolist() == [[expected]]


def test_a_picture_is_seen_in_the_range_of_its_dataset(tmp_path):
    Image.fromarray(np.array([[0, 1000, 2000, 9000]], dtype=np.uint16)).save(tmp_path / "deep.png")
    scale = {DEEP: Range(0, 4095)}
    assert read_pixels(tmp_path / "deep.png", 1, 4, ranges=scale).tolist() == [[[0, 62, 125, 255]]]
    assert pixels_or_reason(tmp_path / "deep.png", 1, 4, ranges=scale).tolist() == [[[0, 62, 125, 255]]]


def test_values_below_zero_and_shares_are_used_from_end_to_end():
    assert to_pixels(Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.float32)), 1, 3).tolist() == [
        [[0, 128, 255]]
    ]
    assert to_pixels(Image.fromarray(np.array([[0, 0.25, 0.5]], dtype=np.float32)), 1, 3).tolist() == [[[0, 128, 255]]]


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(BrokenPictureError, match="NaN"):
        upright(Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)))


@pytest.mark.parametrize("name", ["a.pgm", "a.ppm", "no ending", "a.jpg_large", "a.part.1"])
def test_pictures_are_known_by_their_content_whatever_their_names(tmp_path, name):
    gray().save(tmp_path / name, "PPM" if "p" in name[-3:] and name.endswith("m") else "PNG")
    assert is_picture(tmp_path / name)
    assert np.array_equal(np.asarray(read_picture(tmp_path / name).convert("L")), np.asarray(gray()))
    (tmp_path / name).write_bytes(b"text, and no picture at all")
    assert is_picture(tmp_path / name) == (name[-4:] in (".pgm", ".ppm"))


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize(
    "damage", [b"", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"Exif\0\0nonsense" * 9]
)
def test_pictures_with_damaged_exif_data_are_read_as_they_lie(tmp_path, suffix, damage):
    colors().save(tmp_path / f"whole.{suffix}", lossless=True)
    colors().save(tmp_path / f"a.{suffix}", exif=damage, lossless=True)
    found, whole = (np.asarray(read_picture(tmp_path / f"{name}.{suffix}")) for name in ("a", "whole"))
    assert np.array_equal(found, whole)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"PK\x03\x04" + bytes(20), "an archive"),
        (b"%PDF-1.7" + bytes(20), "a PDF file"),
    ],
)
def test_what_people_take_for_pictures_is_called_by_its_name(tmp_path, content, said):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(BrokenPictureError, match=said):
        read_picture(tmp_path / "a.jpg")


def test_heic_pictures_of_phones_are_read_with_pillow_heif(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: pip install 'capsnet[heic]'")
    heif.register_heif_opener()
    plain = Image.new("RGB", (60, 40), (200, 30, 30))
    plain.paste((20, 20, 220), (0, 0, 30, 40))
    plain.save(tmp_path / "IMG_1.HEIC", "HEIF", quality=90)
    (tmp_path / "IMG_1.HEIC").rename(tmp_path / "IMG_1")
    assert is_picture(tmp_path / "IMG_1")
    found = np.asarray(read_picture(tmp_path / "IMG_1"), np.int16)
    assert np.abs(found - np.asarray(plain, np.int16)).mean() < 4  # lossy


def test_without_pillow_heif_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(BrokenPictureError, match="HEIC picture of a phone: pip install pillow-heif"):
        read_picture(tmp_path / "a.jpg")


def test_transparent_places_are_white_or_black_if_nothing_would_be_seen_on_white():
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[2:4, 2:4, 3] = 255  # opaque black
    assert np.asarray(upright(Image.fromarray(ink)))[[0, 2], [0, 2]].tolist() == [255, 0]
    for nearly_white in (255, 250):
        ink[..., :3] = nearly_white
        assert np.asarray(upright(Image.fromarray(ink)))[[0, 2], [0, 2]].tolist() == [0, nearly_white]


def test_palettes_with_and_without_a_transparent_color(tmp_path):
    palette = colors().quantize(8)
    palette.save(tmp_path / "plain.png")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "plain.png")), np.asarray(palette.convert("RGB")))
    palette.save(tmp_path / "clear.png", transparency=0)
    read = np.asarray(read_picture(tmp_path / "clear.png"))
    assert (read[np.asarray(palette) == 0] == 255).all()


def test_a_gray_picture_saved_in_color_has_no_colors_and_gives_the_same_gray():
    saved = gray().convert("RGB")
    assert not has_colors(saved)
    assert np.array_equal(to_pixels(saved, 30, 20), to_pixels(gray(), 30, 20))


def test_proportions_are_kept_and_the_rest_is_filled_with_the_borders_color():
    picture = Image.new("RGB", (40, 10), (200, 30, 60))
    picture.paste((0, 0, 0), (14, 2, 26, 6))
    pixels = to_pixels(picture, 20, 20)
    assert pixels.shape == (3, 20, 20)
    assert (pixels[:, :7] == np.array([200, 30, 60])[:, None, None]).all()
    dark = np.argwhere(pixels[0] < 100)
    assert np.ptp(dark, axis=0).tolist() == [1, 5]  # 4x12 pixels, halved


def test_a_smaller_picture_is_the_mean_of_its_pixels_and_a_thin_one_still_has_a_pixel():
    checkered = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    assert np.abs(to_pixels(checkered, 8, 8).astype(int) - 127).max() <= 2
    assert to_pixels(Image.new("L", (3000, 1), 9), 28, 28).shape == (1, 28, 28)


def test_a_picture_of_the_wanted_size_is_left_as_it_is():
    assert np.array_equal(to_pixels(gray(), 30, 20)[0], np.asarray(gray()))


def large_png(width, height):
    """A PNG file that says it has so many pixels."""
    small = io.BytesIO()
    Image.new("L", (1, 1)).save(small, "PNG")
    content = bytearray(small.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def jpeg(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<html><body>404</body></html>", "is no picture but a web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),  # Pillow would start a program
        (jpeg(colors())[:600], "is damaged"),
        (large_png(20_000, 20_000), "too many pixels"),
        (large_png(10_000, 9_500), "too many pixels"),
    ],
)
def test_what_cannot_be_read_has_a_reason(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BrokenPictureError, match=reason):
        read_picture(tmp_path / "a.png")


def test_a_missing_file_and_a_folder_have_a_reason(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name, reason in (("none.png", "No such file"), ("folder.png", "Is a directory")):
        with pytest.raises(BrokenPictureError, match=reason):
            read_picture(tmp_path / name)


def test_only_an_error_of_the_system_may_pass(tmp_path, monkeypatch):
    (tmp_path / "empty.png").write_bytes(b"")
    reasons = [pixels_or_reason(tmp_path / name, 8, 8) for name in ("empty.png", "none.png")]
    assert [isinstance(reason, TemporaryReason) for reason in reasons] == [False, True]

    def too_much(*given, **more):
        raise MemoryError

    gray().save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.Image.open", too_much)
    with pytest.raises(MemoryError):
        pixels_or_reason(tmp_path / "a.png", 8, 8)


def test_the_size_needs_only_the_beginning_of_a_file(tmp_path):
    gray().save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    assert picture_size(tmp_path / "a.png") == (20, 30)


def test_a_large_jpeg_is_read_faster_and_nearly_the_same(tmp_path):
    picture = Image.fromarray((GRADIENT * 255).astype(np.uint8)).resize((2000, 3000), Image.Resampling.BICUBIC)
    picture.save(tmp_path / "photo.jpg")
    at_once, whole = (to_pixels(read_picture(tmp_path / "photo.jpg", size), 48, 32) for size in (48, None))
    assert read_picture(tmp_path / "photo.jpg", 48).height < 1000
    assert np.abs(at_once.astype(int) - whole).max() <= 3


def test_nothing_is_printed_about_odd_and_damaged_files(tmp_path):
    random = np.random.default_rng(0)
    for number in range(200):
        content = io.BytesIO()
        colors().save(content, "TIFF", compression=("tiff_lzw", "tiff_deflate")[number % 2])
        damaged = bytearray(content.getvalue())
        damaged[random.integers(len(damaged))] ^= 1 << int(random.integers(8))
        (tmp_path / f"{number}.tif").write_bytes(damaged)
    (tmp_path / "large.png").write_bytes(large_png(10_000, 9_500))  # Pillow warns of it
    code = (
        "import sys; from pathlib import Path; from capsnet.data.parallel import in_parallel;"
        "from capsnet.data.pictures import pixels_or_reason; from functools import partial;"
        "read = partial(pixels_or_reason, height=28, width=28);"
        "found = list(in_parallel(read, sorted(Path(sys.argv[1]).iterdir()), 'reading'));"
        "print(len(found), any(isinstance(one, str) for one in found))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["201", "True"]
    assert done.stderr == ""
