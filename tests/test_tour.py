"""The tour, docs/tour.ipynb, runs as it stands."""

import copy
import re

import nbformat
import pytest
from conftest import REPO
from nbclient import NotebookClient


def shown(notebook):
    """What each cell shows: kinds of pictures, and text but for its digits, which depend on the machine."""
    return [
        sorted(
            kind if kind != "stream" else re.sub(r"\d", "0", output.text)
            for output in cell.get("outputs", [])
            for kind in output.get("data", {output.output_type: None})
        )
        for cell in notebook.cells
    ]


@pytest.mark.slow
def test_the_tour_runs_and_shows_what_is_saved_in_it(tmp_path):
    saved = nbformat.read(REPO / "docs/tour.ipynb", as_version=4)
    executed = copy.deepcopy(saved)
    NotebookClient(executed, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert shown(executed) == shown(saved)
    assert sum(cell.count("image/png") for cell in shown(saved)) >= 10
    assert "stderr" not in {output.get("name") for cell in executed.cells for output in cell.get("outputs", [])}
    assert list(tmp_path.iterdir()) == []
