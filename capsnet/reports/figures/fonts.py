"""Class names in their own script, where a font on this machine has the characters."""

from collections.abc import Iterator, Sequence
from functools import cache

from matplotlib import font_manager, rcParams
from matplotlib.ft2font import FT2Font

EAST_ASIAN_FAMILIES = (
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "Source Han Sans JP",
    "IPAexGothic",
    "IPAGothic",
    "TakaoGothic",
    "VL Gothic",
    "Hiragino Sans",
    "Hiragino Kaku Gothic ProN",
    "Yu Gothic",
    "Meiryo",
    "MS Gothic",
    "Noto Serif CJK JP",
    "IPAexMincho",
    "Arial Unicode MS",
    "WenQuanYi Zen Hei",
)
"""Tried first: a machine may have hundreds of fonts, and only a few have Japanese characters."""


def display_names(names: Sequence[str], characters: Sequence[str] | None) -> list[str]:
    """Class names for a figure, such as "お o" for "o".

    Args:
        names: class names in Latin letters.
        characters: the same in their own script, or None where there is none.

    Returns:
        Names with the characters before them, or the names alone where no font on this machine has all characters.
    """
    if characters is None:
        return _legible(names)
    if not _can_draw("".join(characters)):
        return list(names)
    return [f"{character} {name}" for name, character in zip(names, characters, strict=True)]


def _legible(names: Sequence[str]) -> list[str]:
    """The names, with code points instead of characters that no font on this machine has."""
    strange = sorted({char for name in names for char in name} - _default_characters())
    if not strange or _can_draw("".join(strange)):
        return list(names)
    drawable = {char for char in strange if _can_draw(char)}
    shown = {char: f"U+{ord(char):04X}" for char in strange if char not in drawable}
    return ["".join(shown.get(char, char) for char in name) for name in names]


def _can_draw(characters: str) -> bool:
    """Is there a font with all of these characters? matplotlib then uses it where its own font lacks them."""
    family = _family_with(characters)
    if family is not None and family not in rcParams["font.family"]:
        rcParams["font.family"] = [*rcParams["font.family"], family]  # a fallback: Latin text keeps its font
    return family is not None


@cache
def _default_characters() -> frozenset[str]:
    """What matplotlib's own font has."""
    font = FT2Font(font_manager.findfont("DejaVu Sans"))
    return frozenset(map(chr, font.get_charmap()))


@cache
def _family_with(characters: str) -> str | None:
    """A font family that has all characters."""
    for family, path in _families():
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):  # removed since matplotlib listed it, or damaged
            continue
        if all(font.get_char_index(ord(character)) for character in characters):
            return family
    return None


def _families() -> Iterator[tuple[str, str]]:
    """Name of each font family and the path of one of its fonts, the likely ones first."""
    paths: dict[str, str] = {}
    for font in font_manager.fontManager.ttflist:
        if not font.name.startswith("Last Resort"):  # has a placeholder for every character there is
            paths.setdefault(font.name, font.fname)
    for family in EAST_ASIAN_FAMILIES:
        if family in paths:
            yield family, paths.pop(family)
    yield from paths.items()
