"""Compares photos: `python embed.py student.tflite photo.jpg other.jpg ...` prints the cosines with the first one."""

import sys

from search import opened, pixels_of  # the file beside this one

if __name__ == "__main__":
    embed, size = opened(sys.argv[1], None)
    vectors = [embed(pixels_of(path, size))["embedding"][0] for path in sys.argv[2:]]
    for path, vector in zip(sys.argv[2:], vectors, strict=True):
        print(f"{vectors[0] @ vector:.4f}  {path}")
