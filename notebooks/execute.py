"""Executes the notebooks, in order, and keeps what they show: `.venv/bin/python notebooks/execute.py`.

They run in an empty directory, so that nothing is passed over as done before.
"""

import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PROGRESS = re.compile(r"\d+ of \d+ .* done\s*$")


def is_result(output: nbformat.NotebookNode) -> bool:
    """Whether an output is worth keeping: not what the JVM warns of, nor how far a stage was when."""
    text = output.get("data", {}).get("text/plain", "")
    return output.get("name") != "stderr" and not PROGRESS.search(text)


def main() -> None:
    """Executes all, and writes each as soon as it is done."""
    with tempfile.TemporaryDirectory() as directory:
        for path in sorted(Path(__file__).parent.glob("*.ipynb")):
            notebook = nbformat.read(path, as_version=4)
            metadata = dict(notebook.metadata)
            resources = {"metadata": {"path": directory}}
            NotebookClient(notebook, timeout=None, resources=resources, record_timing=False).execute()
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs = [output for output in cell.outputs if is_result(output)]
            notebook.metadata = metadata  # without the versions of this machine
            nbformat.write(notebook, path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
