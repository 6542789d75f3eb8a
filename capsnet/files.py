"""Files and folders that are written whole or not at all, and removed only when empty."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write to a draft beside `path`; it replaces `path` when the block ends, and is removed if the block fails."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")  # other processes may write the same file
    draft.unlink(missing_ok=True)  # writing through a link would change a file elsewhere
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically. NaN and infinity, which JSON does not have, become null."""
    text = json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def remove_empty(folder: Path) -> None:
    """Remove a folder and its parents up to the current folder, as long as they are empty."""
    here = Path.cwd()
    parents = [parent for parent in folder.absolute().parents if here in parent.parents]
    with contextlib.suppress(OSError):  # the first one that is not empty stops it
        for path in (folder, *parents):
            path.rmdir()


def combined_digest(files: dict[str, str]) -> str:
    """One sha256 for several files: that of `sha256sum`'s output for them, sorted by name.

    Args:
        files: sha256 of each file, by name.
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
