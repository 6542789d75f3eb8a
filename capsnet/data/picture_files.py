"""Where the pictures of a folder of classes are, and what to say if they are elsewhere."""

import itertools
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import DataError
from ..text import counted, first_names, printable
from .pictures import has_picture_name, is_picture
from .source import NOTHING

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
OTHER_NAMES = {"training": "train", "testing": "test", "validation": "val", "valid": "val"}
SYSTEM_NAMES = frozenset(
    [
        *("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "system volume information"),
        *("lost+found", "__pycache__", "thumbs.db", "desktop.ini"),
    ]
)
"""What systems leave beside people's files, in lower case."""
MOST_LOOKED_AT = 10_000  # files, to say what is in a folder without images
CODE_POINT = re.compile(r"U\+([0-9A-Fa-f]{4,6})")


class PictureFile(NamedTuple):
    """A file in a class's folder."""

    part: str
    """One of PARTS, or empty if the parts are not separate."""
    class_name: str
    name: str
    """Below the root, such as train/cat/1.png."""
    state: tuple[int, ...]
    """Size and times; empty if they cannot be found out."""
    leads_outside: bool
    """It is a link to a file that is not below the root."""
    below_class: str
    """The name below the class's folder, such as 1.png."""


def find_pictures(root: Path) -> list[PictureFile]:
    """The picture files in a folder's classes: part by part, class by class, in natural order.

    Raises:
        DataError: there are none, or not where they should be; a folder cannot be read, or a link leads out of it.
    """
    try:
        if not root.is_dir():
            raise DataError(f"data.root={root}: {_no_folder(root)}")
        return _find_pictures(root, os.path.realpath(root))
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read ({error.strerror})") from error


def _find_pictures(root: Path, inside: str) -> list[PictureFile]:
    folders = folders_in(root, inside)
    has_parts = any(name in folders and folders_in(root / name, inside) for name in ("train", "test"))
    _refuse_flat_parts(root, folders, inside, has_parts)
    parts = [part for part in PARTS if part in folders] if has_parts else [""]
    if has_parts and (others := [name for name in folders if name not in PARTS]):
        log.warning(
            "%s: not read: %s; only train, val and test are%s",
            *(printable(str(root)), first_names(others), renaming(others)),
        )
    for part in parts:
        _refuse_wrong_level(root, part, folders, inside)
    found = _Found([], [], [])
    empty: list[Path] = []
    for part in parts:
        for folder in folders_in(root / part, inside) if part else folders:
            before = len(found.files)
            _add_class(found, part, Path(part, folder).as_posix(), root, inside)
            empty += [] if len(found.files) > before else [root / part / folder]
    if not found.files:
        raise DataError(
            f"{root}: has no images in train/CLASS/ and test/CLASS/, or in CLASS/{_what_is_there(root, folders)}"
        )
    if empty:
        _refuse_deeper_classes(root, found, inside)
        raise DataError(f"{empty[0]}: has no images{_endings(empty[0])}; put some there, or remove the folder")
    if beside := _pictures_in(root) if parts == [""] else 0:
        log.warning("%s: not read: %s beside the class folders", printable(str(root)), counted(beside, "image"))
    if found.ignored:
        log.warning("%s: not read, as they are no pictures: %s", printable(str(root)), first_names(found.ignored))
    if found.deeper:
        log.info(
            "%s: %s in folders inside those of the classes, such as %s",
            *(printable(str(root)), counted(len(found.deeper), "image"), printable(found.deeper[0])),
        )
    return found.files


class _Found(NamedTuple):
    files: list[PictureFile]
    ignored: list[str]
    """Names of what is no picture."""
    deeper: list[str]
    """Names of pictures that lie in folders inside a class's folder."""


def _no_folder(root: Path) -> str:
    """Why data.root is none."""
    if not root.exists():
        return "there is no such folder"
    return "there is no such folder, but a file; unpack it if it is an archive, and set data.root=FOLDER"


def _refuse_flat_parts(root: Path, folders: Sequence[str], inside: str, has_parts: bool) -> None:
    """Raise DataError for a part in which images lie without class folders. A class may be called train."""
    only_parts = has_parts or set(folders) <= set(PARTS)
    for part in PARTS if only_parts else ("val", "test"):
        if part in folders and not folders_in(root / part, inside) and _pictures_in(root / part):
            raise DataError(
                f"{root / part}: has images but no class folders; sort them into {part}/CLASS/, or move them out"
            )


def _refuse_wrong_level(root: Path, part: str, folders: Sequence[str], inside: str) -> None:
    """Raise DataError if what looks like classes in a part, or in the root, is something else: parts by other names, or
    a folder that holds all others."""
    start = root / part
    if not part and renaming(folders):
        meant = [name for name in folders if _meant_part(name) and folders_in(root / name, inside)]
        if any(_meant_part(name) == "train" for name in meant) or len(meant) == len(folders):
            inner = {name: str(_where_classes_are(root / name, inside).relative_to(root)) for name in meant}
            raise DataError(
                f"{root}: has no images in train/CLASS/ and test/CLASS/, or in CLASS/{renaming(folders, inner)}"
            )
    where = _where_classes_are(start, inside)
    if where == start:
        return
    if part:
        raise DataError(f"{start}: has only the folder {where.relative_to(start)}/; move what is in it to {part}/")
    raise DataError(
        f"{root}: has no images in train/CLASS/ and test/CLASS/, or in CLASS/; did you mean data.root={where}?"
    )


def _refuse_deeper_classes(root: Path, found: _Found, inside: str) -> None:
    """Raise DataError if one folder alone has pictures, in folders of its own, such as images/ beside labels/."""
    tops = {Path(file.name).parts[0] for file in found.files}
    if len(tops) == 1 and len(found.deeper) == len(found.files) and not found.files[0].part:
        where = _where_classes_are(root / tops.pop(), inside)
        raise DataError(f"{root}: has images in one folder only; did you mean data.root={where}?")


def _where_classes_are(folder: Path, inside: str) -> Path:
    """The folder itself, or the one further down that alone holds all the others."""
    while len(inner := folders_in(folder, inside)) == 1 and not _pictures_in(folder):
        only = folder / inner[0]
        if _pictures_in(only) or not folders_in(only, inside):
            break
        folder = only
    return folder


def _pictures_in(folder: Path) -> int:
    """Pictures that lie in a folder itself."""
    with os.scandir(folder) as entries:
        return sum(entry.is_file() and not is_hidden(entry.name) and is_picture(entry.path) for entry in entries)


def is_hidden(name: str) -> bool:
    """Is it a system's, not the person's?"""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _add_class(found: _Found, part: str, folder: str, root: Path, inside: str, class_name: str = "") -> None:
    """Add what is in a class's folder, and in folders inside it."""
    deeper = bool(class_name)
    class_name = class_name or printable(unicodedata.normalize("NFC", Path(folder).name))
    pictures, inner = [], []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            name = f"{folder}/{entry.name}"
            leads_outside = entry.is_symlink() and not is_below(entry.path, inside)
            if entry.is_dir() and not entry.is_symlink():
                inner.append(name)
            elif not entry.is_dir() and (has_picture_name(entry.name) or _begins_as_picture(entry, leads_outside)):
                below_class = name.split("/", 2 if part else 1)[-1]
                pictures.append(PictureFile(part, class_name, name, state_of(entry), leads_outside, below_class))
            else:
                found.ignored.append(name)
    pictures.sort(key=lambda file: natural_order(file.name))
    found.files.extend(pictures)
    if deeper:
        found.deeper.extend(file.name for file in pictures)
    for name in sorted(inner, key=natural_order):
        _add_class(found, part, name, root, inside, class_name)


def _begins_as_picture(entry: os.DirEntry, leads_outside: bool) -> bool:
    """Only of a file that is in the folder; and reading what is no file might wait for ever."""
    return not leads_outside and entry.is_file() and is_picture(entry.path)


def state_of(entry: os.DirEntry | Path) -> tuple[int, ...]:
    """Size and times of a file; the last time also shows changed rights. Empty if they cannot be found out."""
    try:
        status = entry.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def folders_in(folder: Path, inside: str) -> list[str]:
    """Names of the folders in a folder, in natural order. Raises DataError for a link that leads out of `inside`."""
    with os.scandir(folder) as entries:
        folders = [entry for entry in entries if not is_hidden(entry.name) and entry.is_dir()]
    for entry in folders:
        if entry.is_symlink() and not is_below(entry.path, inside):
            raise DataError(f"{entry.path}: a link that leads out of the folder; move or copy its images here")
    return sorted((entry.name for entry in folders), key=natural_order)


def is_below(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _meant_part(name: str) -> str | None:
    """Which part a folder's name means, such as seg_train or Testing; None if it is a class's."""
    words = [OTHER_NAMES.get(word, word) for word in re.split(r"[^a-z]+", name.lower())]
    parts = [word for word in words if word in PARTS]
    return parts[0] if len(parts) == 1 else None


def renaming(folders: Sequence[str], where: Mapping[str, str] = NOTHING) -> str:
    """Which folders are probably meant as parts, but have other names, and `where` they begin.

    One with a word for a part in its name counts if there is one for another part as well.
    """
    meant = {name: part for name in folders if name not in PARTS and (part := _meant_part(name))}
    if len({_meant_part(name) for name in folders} - {None}) < 2:
        meant = {name: part for name, part in meant.items() if OTHER_NAMES.get(name.lower(), name.lower()) in PARTS}
    pairs = sorted(
        ((where.get(name, name), part) for name, part in meant.items()), key=lambda pair: PARTS.index(pair[1])
    )
    if not pairs:
        return ""
    given, wanted = (" and ".join(f"{printable(name)}/" for name in names) for names in zip(*pairs, strict=True))
    return f"; {given} must be called {wanted}"


def _what_is_there(root: Path, folders: Sequence[str]) -> str:
    """What a folder without images in its classes has instead, and what to do about it."""
    if count := _pictures_in(root):
        here = f"; there are {counted(count, 'image')} without class folders: sort them into CLASS/"
        return f"{here}; or, if these are all of one class, set data.root={root.absolute().parent}"
    return renaming(folders) or _endings(root)


def _endings(root: Path) -> str:
    """How the names of the files in a folder end."""
    names = (name for _, _, names in os.walk(root) for name in names if not is_hidden(name))
    endings = Counter(Path(name).suffix.lower() for name in itertools.islice(names, MOST_LOOKED_AT))
    if not endings:
        return ""
    kinds = [f"{count:,} {ending or 'without an ending'}" for ending, count in endings.most_common(3)]
    advice = "; unpack the archive" if set(endings) & {".zip", ".gz", ".tar", ".tgz", ".rar", ".7z"} else ""
    return f"; its files are no pictures: {', '.join(kinds)}{advice}"


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """A key by which numbers within names are sorted by their value, 2 before 10; and code points, U+9 before U+10."""
    if point := CODE_POINT.fullmatch(name):
        return [(False, int(point[1], 16), name)]
    pieces = re.split(r"([0-9]+)", name)
    return [(piece.isdecimal(), int(piece) if piece.isdecimal() else 0, piece) for piece in pieces]
