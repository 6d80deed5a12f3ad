"""The model card: one JSON file that says what the exported files are and how they were measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.gate.verify import FileCheck
from kdistill import students
from kdistill.errors import ArgumentError, KdistillError
from kdistill.files.whole import json_text, write_whole
from kdistill.version import __version__

RESIZE = "Pillow bilinear with antialiasing, to the square input, aspect ratio not kept"


def write_card(path: Path | str, student: Any, checks: Sequence[FileCheck], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the card and returns what stands in it.

    Args:
        path: where to write.
        student: the Keras model.
        checks: of each file, from `verify_files`.
        facts: what only the run knows: backbone, teacher, queries spent, hash of the data, measured quality.

    Raises:
        ArgumentError: a fact that has the name of one that the card fills in itself, or that JSON cannot hold.
    """
    card: dict[str, Any] = {
        "kdistill_version": __version__,
        "input": {
            "name": "image",
            "type": "uint8 RGB",
            "size": students.image_size(student),
            "resize": RESIZE,
            "preprocessing": "inside the files",
        },
        "output": {"name": "embedding", "type": "float32, L2 norm 1", "dimension": students.embedding_dim(student)},
        "parameters": int(student.count_params()),
        "files": [check.as_dict() for check in checks],
    }
    taken = card.keys() & facts.keys()
    if taken:
        raise ArgumentError(f"the card fills in {', '.join(sorted(taken))} itself")
    try:
        text = json_text({**facts, **card}, indent=2)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"a fact for the card cannot be written as JSON: {error}") from error
    write_whole(Path(path), text + "\n")
    return {**facts, **card}


def update_card(path: Path | str, checks: Sequence[FileCheck], **facts: Any) -> None:
    """Puts new checks into a card in place of the old ones of the same files, and facts in place of their namesakes.

    Raises:
        KdistillError: the card is missing or damaged.
    """
    try:
        card = json.loads(Path(path).read_text(encoding="utf-8"))
        files = {entry["name"]: entry for entry in card["files"]} | {check.name: check.as_dict() for check in checks}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KdistillError(f"the card {path} cannot be read ({error}); run the export stage again") from error
    write_whole(Path(path), json_text({**card, **facts, "files": list(files.values())}, indent=2) + "\n")
