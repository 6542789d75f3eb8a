"""What is drawn on the page, or uploaded, as the network expects it."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.pictures import border, decode_picture
from ..runs.trained import TrainedModel

INK = 48  # difference to the paper, of 255, from which a pixel counts as ink
USUAL_EXTENT = 0.8  # where the training images are not known
MOST_ENLARGED = 2  # times its size: a dot stays a dot


def prepared_upload(model: TrainedModel, content: bytes) -> np.ndarray:
    """The content of a picture file as the network expects it, just as `capsnet.predict` reads it.

    Returns:
        [channels, height, width] uint8.

    Raises:
        BrokenPictureError: it is not a picture that can be read.
    """
    return model.pixels(decode_picture(content, max(model.image_shape[1:])))


def prepared_drawing(model: TrainedModel, content: bytes, extent: float | None) -> np.ndarray:
    """The same for a drawing; with an `extent`, it is first centred and scaled.

    Args:
        content: of a picture file.
        extent: how far the drawing should reach from edge to edge, as a share of the image; None: it stays as it is.
    """
    picture = decode_picture(content)
    if extent is not None:
        picture = centred(picture, extent, model.image_shape[1:])
    return model.pixels(picture)


def centred(picture: Image.Image, extent: float, size: tuple[int, int]) -> Image.Image:
    """A drawing in the middle of its paper, as large as asked, but `MOST_ENLARGED`. An empty sheet stays as it is.

    Args:
        picture: in mode L or RGB.
        extent: share of the paper's height or width that the drawing should reach across, whichever it fills first.
        size: height and width of paper that has the right proportions.
    """
    box = ink_box(np.asarray(picture.convert("L")))
    if box is None:
        return picture
    top, left, bottom, right = box
    drawing = picture.crop((left, top, right, bottom))
    # The paper around the drawing that makes it reach `extent` of the way across, in the drawing's own pixels.
    smallest = max(picture.height / size[0], picture.width / size[1]) / MOST_ENLARGED
    pixel = max(drawing.height / size[0] / extent, drawing.width / size[1] / extent, smallest)
    height, width = (max(1, round(side * pixel)) for side in size)
    paper = np.median(border(np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)), axis=1).astype(np.uint8)
    sheet = Image.new(picture.mode, (width, height), tuple(paper.tolist()))
    sheet.paste(drawing, ((width - drawing.width) // 2, (height - drawing.height) // 2))
    return sheet


def ink_box(pixels: np.ndarray) -> tuple[int, int, int, int] | None:
    """Top, left, bottom and right of what differs from the paper in a picture [height, width]; None if nothing does."""
    ink = np.abs(pixels.astype(int) - np.median(border(pixels))) >= INK
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def usual_extent(images: Tensor) -> float:
    """How far from edge to edge the ink in images [n, channels, height, width] uint8 reaches, the median over them."""
    reach = []
    for pixels in images.float().mean(1).numpy():
        if (box := ink_box(pixels)) is not None:
            top, left, bottom, right = box
            reach.append(max((bottom - top) / pixels.shape[0], (right - left) / pixels.shape[1]))
    return float(torch.tensor(reach).median()) if reach else USUAL_EXTENT
