"""Writing checkpoints so that the file under a checkpoint's name is always complete."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from ..errors import StorageError
from ..files import atomic_write
from ..text import on_one_line


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then moves it there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_write(path) as draft, draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException as error:
            if isinstance(error.__context__, KeyboardInterrupt | SystemExit | OSError):
                error = error.__context__  # torch has reported an error of its own instead
            if isinstance(error, OSError | RuntimeError):
                state = "still the one of the epoch before" if path.exists() else "missing"
                why = error.strerror if isinstance(error, OSError) else on_one_line(error)
                raise StorageError(f"{path}: a checkpoint cannot be saved ({why}); the file is {state}") from error
            raise error
