"""What an exported file says about itself, as one JSON text inside the file."""

import json
from pathlib import Path
from typing import Any

from export.formats.flatbuffer import read_metadata, read_model
from kdistill.version import __version__

METADATA_KEY = "kdistill"


def file_metadata(student: Any, precision: str) -> dict[str, str]:
    """Returns the metadata of an exported student: version, backbone, sizes, precision, resize."""
    from kdistill import students  # TensorFlow, which the commands on files alone do without

    facts = {
        "version": __version__,
        "model": student.name,
        "precision": precision,
        "image_size": students.image_size(student),
        "dimension": students.embedding_dim(student),
        "input": "image: uint8 RGB, resized by antialiased bilinear; preprocessing is inside",
        "output": "embedding: float32, L2 norm 1",
    }
    return {METADATA_KEY: json.dumps(facts)}


def stored_precision(path: Path | str) -> str:
    """Returns the precision that the exporter wrote into a .tflite or .onnx file, "float32" where none stands."""
    if Path(path).suffix == ".onnx":
        import onnx

        properties = onnx.load(str(path), load_external_data=False).metadata_props
        text = next((entry.value for entry in properties if entry.key == METADATA_KEY), None)
    else:
        text = read_metadata(read_model(path), METADATA_KEY)
    return str(json.loads(text).get("precision", "float32")) if text else "float32"
