"""Finds the neighbours of a photo: `python search.py retriever.tflite photo.jpg`, or with `retriever.onnx`."""

import io
import json
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image
import PIL.ImageOps


def upright_rgb(photo: PIL.Image.Image) -> PIL.Image.Image:
    """Returns what the student learned from: upright, 16-bit grey by its upper eight bits, alpha dropped."""
    photo.load()
    tags, mode = getattr(photo, "tag_v2", {}), photo.mode  # tags of TIFF files, some of which Pillow reads wrongly
    bits, grey = tags.get(258, (8,)), mode.startswith("I;16") and (tags.get(258) == (12,) or tags.get(262) == 0)
    signed, in_planes = mode == "L" and tags.get(339) == (2,), bits[0] == 16 and tags.get(284) == 2
    if grey or signed or in_planes or mode == "F" or (mode == "I" and photo.format not in ("PNG", "PPM")):
        sys.exit("the photo does not say which of its values is white; save it with 8 or 16 whole bits a channel")
    photo = PIL.ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):
        photo = PIL.Image.fromarray((np.asarray(photo) >> 8).astype(np.uint8))
    return (photo.convert("LA") if photo.mode == "La" else photo).convert("RGB")


def opened(path: str, signature: str | None) -> tuple[Callable[[np.ndarray], dict[str, np.ndarray]], Sequence[int]]:
    """Returns a model as a function from pixels [1, height, width, 3] to its outputs by name, and (height, width)."""
    if path.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        shape = next(value.shape for value in session.get_inputs() if value.name == "image")
        return lambda pixels: dict(zip(names, session.run(None, {"image": pixels}), strict=True)), shape[1:3]
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(path).get_signature_runner(signature)
    return lambda pixels: runner(image=pixels), runner.get_input_details()["image"]["shape"][1:3]


def pixels_of(path: str, size: Sequence[int]) -> np.ndarray:
    """Returns a photo as the student takes it: uint8 [1, height, width, 3]."""
    photo = PIL.Image.open(io.BytesIO(pathlib.Path(path).read_bytes()))
    height, width = map(int, size)
    return np.asarray(upright_rgb(photo).resize((width, height), PIL.Image.Resampling.BILINEAR))[None]


if __name__ == "__main__":
    retriever = pathlib.Path(sys.argv[1])
    # The names of the rows lie beside the file.
    beside = retriever.with_suffix(".json" if retriever.suffix == ".tflite" else ".onnx.json")
    names = json.loads(beside.read_text(encoding="utf-8"))["ids"]
    search, size = opened(sys.argv[1], "search")
    answer = search(pixels_of(sys.argv[2], size))
    for score, row in zip(answer["scores"].ravel(), answer["ids"].ravel(), strict=True):
        print(f"{score:.4f}  {names[row]}")
