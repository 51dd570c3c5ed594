"""Runs notebooks in an empty folder and keeps what they show: `make notebooks`.

The metadata of each keeps the sha256 of its sources, by which a test sees that the outputs are of
the cells as they stand.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

import nbformat


def sources_of(notebook):
    """The sha256 of a notebook's cells, without their outputs."""
    text = "\0".join(f"{cell.cell_type}:{cell.source}" for cell in notebook.cells)
    return hashlib.sha256(text.encode()).hexdigest()


def execute(path):
    """Runs a notebook, and writes it with its outputs."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": folder}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times
            if cell.cell_type == "code":
                cell.outputs = _tidy(cell.outputs, folder)
    notebook.metadata["sources"] = sources_of(notebook)
    nbformat.write(notebook, path)


def _tidy(outputs, folder):
    """The outputs without progress bars, and paths from the folder on."""
    kept = []
    for output in outputs:
        if output.output_type != "stream":
            for kind, text in output.get("data", {}).items():
                if isinstance(text, str):
                    output.data[kind] = text.replace(f"{folder}/", "")
            kept.append(output)
            continue
        lines = output.text.replace(f"{folder}/", "").splitlines(keepends=True)
        output.text = "".join(line for line in lines if line.strip() and "%|" not in line)
        if kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        elif output.text:
            kept.append(output)
    return kept


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        execute(Path(name))
