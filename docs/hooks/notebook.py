"""A hook of MkDocs: makes a page of the notebook that `make docs` has executed (build/start.ipynb)."""

import base64
import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
EXECUTED = REPOSITORY / "build" / "start.ipynb"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page `notebook.md` and its pictures."""
    if not EXECUTED.exists():
        raise PluginError(f"{EXECUTED} is missing: `make docs` writes it")
    lines = []
    for number, cell in enumerate(json.loads(EXECUTED.read_text("utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines += [source, ""]
            continue
        lines += ["```python", source, "```", ""]
        for place, output in enumerate(cell["outputs"]):
            lines += _shown(output, f"notebook/{number}_{place}.png", files, config)
    files.append(File.generated(config, "notebook.md", content="\n".join(lines)))
    return files


def _shown(output: dict[str, Any], name: str, files: Files, config: MkDocsConfig) -> list[str]:
    """Returns the lines that show an output: a picture, a table in Markdown, or text."""
    data = output.get("data", {})
    if "image/png" in data:
        files.append(File.generated(config, name, content=base64.b64decode("".join(data["image/png"]))))
        return [f"![{''.join(data.get('text/plain', 'a picture'))}]({name})", ""]
    if "text/markdown" in data:
        return ["".join(data["text/markdown"]), ""]
    if output.get("name") == "stderr":  # what TensorFlow's C++ says while it is imported
        return []
    text = "".join(output.get("text") or data.get("text/plain") or "")
    return ["```text", text.rstrip(), "```", ""] if text.strip() else []
