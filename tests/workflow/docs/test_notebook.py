"""docs/notebooks/map_in_scanpy.ipynb is committed without outputs, and runs from beginning to end on a small result."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ..checkout import Checkout

PARAMETERS = """
from pathlib import Path

results = Path({results!r})
model, alignment = "mae", "tvn"
relationships = Path({plates!r}) / "relationships.csv"
neighbors = 5
"""


@pytest.fixture
def notebook(repository: Path) -> nbformat.NotebookNode:
    return nbformat.read(repository / "docs/notebooks/map_in_scanpy.ipynb", as_version=4)


def test_no_output_is_committed(notebook: nbformat.NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []


@pytest.mark.slow
@pytest.mark.parametrize("igraph", [True, False])
def test_it_runs(notebook: nbformat.NotebookNode, finished: Checkout, igraph: bool) -> None:
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = PARAMETERS.format(results=str(finished.results), plates=str(finished.folder / "plates"))
    for cell in notebook.cells:
        cell.source = cell.source if igraph else cell.source.replace('find_spec("igraph")', "False")
    where = {"metadata": {"path": finished.folder}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == 2
    enrichment = [cell for cell in notebook.cells if "hypergeom" in cell.source and cell.cell_type == "code"]
    assert "known" in enrichment[0].outputs[-1]["data"]["text/plain"]
