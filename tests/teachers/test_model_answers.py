"""What a model answers about an image is the same, to the last bit, whichever images it is asked about with it."""

import numpy as np
import pytest

from export.formats.onnx import export_onnx
from kdistill import students
from kdistill.data import Image
from kdistill.teachers import open_teacher


@pytest.fixture(scope="module")
def student():
    return students.build("small_cnn", image_size=32, embedding_dim=24)


@pytest.mark.parametrize("kind", ["in memory", ".keras", ".onnx"])
def test_an_answer_does_not_depend_on_its_batch(student, tmp_path, kind):
    spec = student
    if kind != "in memory":
        spec = tmp_path / f"teacher{kind}"
        student.save(spec) if kind == ".keras" else export_onnx(student, spec)
    teacher = open_teacher(spec)
    pixels = np.random.default_rng(0).integers(0, 256, (41, 32, 32, 3), np.uint8)
    images = [Image(str(row), array=one) for row, one in enumerate(pixels)]
    whole = teacher.embed(images)
    for size in (1, 7, 12, 32):
        parts = [teacher.embed(images[first : first + size]) for first in range(0, len(images), size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.random.default_rng(1).permutation(len(images))
    np.testing.assert_array_equal(teacher.embed([images[row] for row in order]), whole[order])
