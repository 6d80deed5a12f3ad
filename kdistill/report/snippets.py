"""The Python in a model card: a photo in, a vector out, with the runtime of the file, numpy and Pillow alone."""

from pathlib import PurePath

_PHOTO = """import numpy as np
{runtime}
from PIL import Image, ImageOps


def embed(path):
    with Image.open(path) as photo:
        upright = ImageOps.exif_transpose(photo).convert("RGB")
    pixels = np.asarray(upright.resize(({size}, {size}), Image.Resampling.BILINEAR))
    return {call}


{opened}
print(embed("photo.jpg") @ embed("other.jpg"))  # the cosine: near 1 for photos that are alike"""

_TFLITE = {
    "runtime": "from ai_edge_litert.interpreter import Interpreter",
    "call": 'model(image=pixels[None])["embedding"][0]',
    "opened": "model = Interpreter({file!r}).get_signature_runner()",
}
_ONNX = {
    "runtime": "import onnxruntime",
    "call": 'model.run(["embedding"], {"image": pixels[None]})[0][0]',
    "opened": "model = onnxruntime.InferenceSession({file!r})",
}


def snippet(file: str, size: int) -> str:
    """Returns the lines for a student's file, `.tflite` or `.onnx`, that takes photos of `size` pixels a side."""
    parts = dict(_TFLITE if PurePath(file).suffix == ".tflite" else _ONNX)
    parts["opened"] = parts["opened"].replace("{file!r}", f'"{file}"')
    return _PHOTO.format(size=size, **parts)


def packages(file: str) -> str:
    """Returns what the lines need, for pip."""
    runtime = "ai-edge-litert" if PurePath(file).suffix == ".tflite" else "onnxruntime"
    return f"{runtime} numpy pillow"
