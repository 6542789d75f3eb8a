"""Writing checkpoints so that the file under a checkpoint's name is always complete."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from ..errors import StorageError
from ..files import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then moves it there. Lightning's own does not wait for the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        content = io.BytesIO()  # torch's writer hides a full disk, and Ctrl-C, behind errors of its own
        torch.save(checkpoint, content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as draft, draft.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            state = "still the one of the epoch before" if path.exists() else "missing"
            reason = f"a checkpoint cannot be saved ({error.strerror}); the file is {state}"
            raise StorageError(f"{path}: {reason}") from error
