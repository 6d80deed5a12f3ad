"""A photo against an index of the teacher's vectors: `python search_faiss.py student.tflite gallery.faiss photo.jpg`.

The index holds the teacher's vectors alone (of unit length, inner product), in the dimensions that the run keeps:
`python -m kdistill.space project space.npz catalogue.parquet cut.npz`, or `python -m export handover --to=faiss`.
"""

import sys

import faiss
from search import opened, pixels_of  # the file beside this one

if __name__ == "__main__":
    embed, size = opened(sys.argv[1], None)
    query = embed(pixels_of(sys.argv[3], size))["embedding"]
    scores, rows = faiss.read_index(sys.argv[2]).search(query, 5)
    for score, row in zip(scores[0], rows[0], strict=True):
        print(f"{score:.4f}  {row}")
