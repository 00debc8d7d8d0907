"""Every notebook runs from top to bottom, on small problems."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

FOLDER = Path(__file__).parents[1] / "notebooks"


@pytest.mark.notebooks
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    sizes = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(sizes) == 1 and "d, n_runs" in sizes[0].source
    sizes[0].source = "d, n_runs = 240, 8"
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()
    errors = [o for cell in notebook.cells for o in cell.get("outputs", ()) if o.get("name") == "stderr"]
    assert not errors


def test_committed_notebooks_hold_their_outputs_and_stay_small():
    paths = sorted(FOLDER.glob("*.ipynb"))
    assert len(paths) == 7
    for path in paths:
        code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code) and any(cell.outputs for cell in code), path.name
        assert path.stat().st_size < 500_000, path.name
