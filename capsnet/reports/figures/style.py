"""What all figures share: colours, headings, images drawn pixel for pixel, and saving."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from ...files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

BLUE, ORANGE, RED, GREY = "#4c72b0", "#dd8452", "#c8102e", "#5f5f5f"
COLOURS = (BLUE, ORANGE, "#55a868", RED, "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")
"""One for each network in a comparison."""
GREYS = colormaps["gray"]
DPI = 150
HEADING_HEIGHT = 0.66  # inches, for `heading`
LEAST_WIDTH = 5.5  # inches, so that a heading is readable above a single small image
GAP = 1  # image pixels between the tiles of a mosaic
MARGIN = 0.15  # inches
LEAST_SIZE = 4  # points, of text that has to fit


def new_figure(width: float, height: float, **options: object) -> Figure:
    """An empty figure, sizes in inches. pyplot does not hold it, so you need not close it."""
    return Figure(figsize=(width, height), dpi=DPI, **options)


def new_panels(panels: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure with equal panels, row by row, below room for a heading; their width and height are in inches."""
    rows = -(-panels // columns)
    whole_height = height * rows + HEADING_HEIGHT
    figure = new_figure(width * columns, whole_height, layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - HEADING_HEIGHT / whole_height), w_pad=0.07, h_pad=0.07)
    grid = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axes in grid[panels:]:
        axes.remove()
    return figure, grid[:panels]


def open_axes(axes: Axes, title: str = "", label: str = "") -> None:
    """Grid lines, no frame above and at the right; a title, and a label of the x axis."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left")
    axes.set_xlabel(label, fontsize=9)


def epoch_axis(axes: Axes) -> None:
    """Ticks at whole epochs only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def new_sheet(
    cells: int, most_columns: int, cell_width: int, cell_height: int
) -> tuple[Figure, Axes, list[tuple[int, int]]]:
    """A figure with equal cells, row by row, below room for a heading; sizes in pixels.

    One axes for all cells is drawn in a fraction of the time that an axes for each would take.

    Returns:
        The figure; an invisible axes, whose coordinates are the figure's pixels, counted from the top left; and the
        left and top of each cell.
    """
    columns = min(most_columns, cells)
    rows = -(-cells // columns)
    margin, heading_height = round(MARGIN * DPI), round(HEADING_HEIGHT * DPI)
    width = max(round(LEAST_WIDTH * DPI), columns * cell_width + 2 * margin)
    height = rows * cell_height + heading_height
    figure = new_figure(width / DPI, height / DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    corners = [
        (margin + cell % columns * cell_width, heading_height + cell // columns * cell_height) for cell in range(cells)
    ]
    return figure, axes, corners


def heading(figure: Figure, title: str, caption: str) -> None:
    """Write a title, and a caption below it, at the top left. In a narrow figure their fonts shrink to fit."""
    width, height = figure.get_size_inches()
    for text, size, weight, colour, top in (
        (title, 12, "bold", "black", 0.13),
        (caption, 9, "normal", GREY, 0.37),
    ):
        size = fitting_size([text], size, (width - 2 * MARGIN) * DPI, weight)
        style = {"fontsize": size, "fontweight": weight, "color": colour, "va": "top", "parse_math": False}
        figure.text(MARGIN / width, 1 - top / height, text, **style)


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in pixels; `size` is in points."""
    font = FontProperties(size=size, weight=weight)
    width, _, _ = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)
    return width


def fitting_size(texts: list[str], size: float, width: float, weight: str = "normal") -> float:
    """The font size, at most `size`, at which each text is at most `width` pixels wide, but `LEAST_SIZE`."""

    def widest(size: float) -> float:
        return max((text_width(text, size, weight) for text in texts), default=0)

    if widest(size) <= width:
        return size
    size *= width / widest(size)
    while size > LEAST_SIZE and widest(size) > width:  # hinting makes some sizes wider than others
        size *= 0.98
    return max(LEAST_SIZE, size)


def percent_tick(share: float, _position: int | None = None) -> str:
    """A fraction as the label of a tick, with no more digits than it needs."""
    return f"{share * 100:.6g}%"


def to_pixels(images: "Tensor") -> np.ndarray:
    """[n, channels, height, width] -> [n, height, width] or, in colour, [n, height, width, 3]; in [0, 1].

    Of two channels, as of a pair of cameras, or of more than three, it is their mean.
    """
    pixels = images.detach().float().clamp(0, 1).cpu().numpy()
    return pixels.transpose(0, 2, 3, 1) if pixels.shape[1] == 3 else pixels.mean(1)


def mosaic(tiles: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Tiles side by side, row by row, with grey lines of `GAP` pixels between them.

    Args:
        tiles: [rows * columns, height, width] or [rows * columns, height, width, 3].

    Returns:
        [rows * (height + GAP) - GAP, columns * (width + GAP) - GAP], or the same with a last axis of 3.
    """
    _, height, width, *colour = tiles.shape
    sheet = np.full((rows, height + GAP, columns, width + GAP, *colour), 0.5, dtype=tiles.dtype)
    sheet[:, :height, :, :width] = tiles.reshape(rows, columns, height, width, *colour).swapaxes(1, 2)
    return sheet.reshape(rows * (height + GAP), columns * (width + GAP), *colour)[:-GAP, :-GAP]


def magnification(height: int, width: int, wanted: int) -> float:
    """How many pixels of a figure one image pixel is wide, for images of about `wanted` pixels.

    A whole number, so that all image pixels come out sharp and equally large. Only images of more than twice the wanted
    size are made smaller.
    """
    side = max(height, width)
    return max(1, round(wanted / side)) if side <= 2 * wanted else wanted / side


def place(axes: Axes, image: np.ndarray, left: float, top: float, scale: float) -> AxesImage:
    """Draw an image, [height, width] or [height, width, 3] in [0, 1], on a sheet; `scale` as from `magnification`."""
    height, width = image.shape[:2]
    return axes.imshow(
        image,
        extent=(left, left + width * scale, top + height * scale, top),
        cmap=GREYS,
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest" if scale >= 1 else "auto",
    )


def write_above(axes: Axes, text: str, middle: float, bottom: float, size: float, colour: str = "black") -> None:
    """A label on a sheet: the middle and the bottom of its text in pixels."""
    axes.text(middle, bottom, text, ha="center", va="bottom", fontsize=size, color=colour, parse_math=False)


def save(figure: Figure, path: Path) -> bytes:
    """Render a figure once, write it to `path` as a PNG file, atomically, and return the content of the file."""
    buffer = io.BytesIO()
    # Level 2 compresses in a third of the default's time, and noisy images to fewer bytes.
    figure.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 2})
    png = buffer.getvalue()
    with atomic_write(path) as draft:
        draft.write_bytes(png)
    return png
