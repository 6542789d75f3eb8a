"""Files and folders that are written whole or not at all, and removed only when empty."""

import contextlib
import csv
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError, and ValueError if it is not JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write to a draft beside `path`; it replaces `path` when the block ends, and is removed if the block fails."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")  # other processes may write the same file
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically. NaN and infinity, which JSON does not have, become null."""
    text = json.dumps(without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as draft:
        draft.write_bytes(text.encode("utf-8", "backslashreplace"))  # a lone surrogate becomes JSON's \udc80


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Mapping[str, Any]], for_spreadsheets: bool = False
) -> None:
    """Write a table with these columns, atomically. What a row lacks, or is None, stays empty; the rest is left out.

    For spreadsheets, it begins with the mark by which Excel knows UTF-8.
    """
    encoding = "utf-8-sig" if for_spreadsheets else "utf-8"
    with atomic_write(path) as draft, draft.open("w", newline="", encoding=encoding, errors="backslashreplace") as file:
        writer = csv.DictWriter(file, header, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def without_nan(content: Any) -> Any:
    """The same nested content, with None for numbers that are NaN or infinite."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


_made_folders: set[Path] = set()


def make_folder(folder: Path, exist_ok: bool = True) -> None:
    """Make a folder with its parents, and remember which of them did not exist before.

    Raises:
        FileExistsError: it exists already, and `exist_ok` is False.
    """
    folder = folder.absolute()
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=exist_ok)
    _made_folders.update(missing)


def remove_made_folder(folder: Path) -> None:
    """Remove a folder and its parents, as long as they are empty and `make_folder` made them in this process."""
    folder = folder.absolute()
    with contextlib.suppress(OSError):  # the first one that is not empty stops it
        for path in (folder, *folder.parents):
            if path not in _made_folders:
                return
            path.rmdir()
            _made_folders.discard(path)


def user_path(path: str) -> Path:
    """A path in which ~ at the beginning is the home folder, if there is one."""
    return Path(os.path.expanduser(path))


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_digest(files: dict[str, str]) -> str:
    """One sha256 for several files: that of `sha256sum`'s output for them, sorted by name.

    Args:
        files: sha256 of each file, by name.
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
