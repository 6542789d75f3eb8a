"""How a benchmark reports: its first line, and the JSON file that it leaves."""

from datetime import date
from pathlib import Path
from typing import Any

import torch

from capsnet.files import write_json
from capsnet.runs.provenance import git_state, processor_name, versions
from capsnet.text import counted


def machine_name(device: str) -> str:
    """The GPU's name for "cuda", the processor's for "cpu"."""
    return torch.cuda.get_device_name() if device == "cuda" else processor_name()


def print_headline(device: str) -> None:
    """Machine, threads, torch's version and date."""
    threads = counted(torch.get_num_threads(), "thread")
    print(f"{machine_name(device)}, {threads}, torch {torch.__version__}, {date.today()}\n", flush=True)


def save_results(path: Path, device: str, rows: list[dict[str, Any]], **settings: Any) -> None:
    """Write the figures to a JSON file, with what you need to judge them later.

    Args:
        path: the file; its folder is made if needed.
        device: "cpu" or "cuda".
        rows: of the benchmark's table.
        settings: of the benchmark, such as classes=10.
    """
    origin = {
        "machine": machine_name(device),
        "threads": torch.get_num_threads(),
        "date": str(date.today()),
        "versions": versions(),
        **git_state(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, origin | settings | {"rows": rows})
    print(f"\nwritten to {path}")
