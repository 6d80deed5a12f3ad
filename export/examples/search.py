"""Finds the neighbours of a photo: `python search.py retriever.tflite photo.jpg`."""

import json
import pathlib
import sys

import numpy as np
import PIL.Image
from ai_edge_litert.interpreter import Interpreter

names = json.loads(pathlib.Path(sys.argv[1]).with_suffix(".json").read_text(encoding="utf-8"))["ids"]
search = Interpreter(sys.argv[1]).get_signature_runner("search")
_, height, width, _ = search.get_input_details()["image"]["shape"]
photo = PIL.Image.open(sys.argv[2]).convert("RGB").resize((width, height), PIL.Image.Resampling.BILINEAR)
answer = search(image=np.asarray(photo)[None])
for score, row in zip(answer["scores"], answer["ids"], strict=True):
    print(f"{score:.4f}  {names[row]}")
