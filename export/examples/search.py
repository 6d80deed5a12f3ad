"""Finds the neighbours of a photo: `python search.py retriever.tflite photo.jpg`."""

import io
import json
import pathlib
import sys

import numpy as np
import PIL.Image
import PIL.ImageOps
from ai_edge_litert.interpreter import Interpreter


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


if __name__ == "__main__":
    names = json.loads(pathlib.Path(sys.argv[1]).with_suffix(".json").read_text(encoding="utf-8"))["ids"]
    search = Interpreter(sys.argv[1]).get_signature_runner("search")
    _, height, width, _ = search.get_input_details()["image"]["shape"]
    photo = PIL.Image.open(io.BytesIO(pathlib.Path(sys.argv[2]).read_bytes()))
    pixels = upright_rgb(photo).resize((width, height), PIL.Image.Resampling.BILINEAR)
    answer = search(image=np.asarray(pixels)[None])
    for score, row in zip(answer["scores"], answer["ids"], strict=True):
        print(f"{score:.4f}  {names[row]}")
