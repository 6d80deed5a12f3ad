"""Executes a notebook and writes it with what its cells show: `python docs/hooks/execute.py IN OUT`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(source: Path, target: Path) -> None:
    """Runs all cells in a kernel of this very Python, and writes the notebook with their outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised; nothing is written.
    """
    notebook = nbformat.read(source, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]))
