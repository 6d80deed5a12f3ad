"""Compactors in and out: the same embeddings, a plain smaller model, exported and run."""

import keras
import numpy as np
import pytest
from trained import shrunk, student_of

from export.formats.tflite import export_tflite
from kdistill import students
from kdistill.compression import CostModel, channel_paths, count_flops, insert_compactors, merge
from kdistill.errors import ArgumentError
from kdistill.layers import Compactor
from kdistill.runtimes.tflite import open_tflite

STUDENTS = {
    "small_cnn": {"pooling": "gem"},
    "mobilenet_v1": {"alpha": 0.25},
    "mobilenet_v2": {"alpha": 0.35},
    "resnet50_v2": {},
}
LARGE = ("mobilenet_v2", "resnet50_v2")


@pytest.mark.parametrize("backbone", [pytest.param(n, marks=pytest.mark.long if n in LARGE else ()) for n in STUDENTS])
def test_merged_equals_unmerged_and_is_plain_and_as_small_as_counted(backbone):
    student, pixels = student_of(backbone, **STUDENTS[backbone])
    plain = np.asarray(student(pixels))
    # A check on embeddings that are all alike would prove nothing.
    assert np.abs(plain - plain.mean(0)).max() > 0.05
    paths = channel_paths(student)
    compacted = insert_compactors(student)
    np.testing.assert_allclose(compacted(pixels), plain, atol=1e-6)
    assert sum(isinstance(layer, Compactor) for layer in compacted.layers) == len(paths)

    kept = shrunk(compacted, 0.4)
    small = merge(compacted)
    embeddings = np.asarray(compacted(pixels))
    assert np.abs(embeddings - plain).max() > 0.05
    np.testing.assert_allclose(small(pixels), embeddings, atol=1e-4)
    assert {type(layer) for layer in small.layers} <= {type(layer) for layer in student.layers}
    for path in paths:
        assert small.get_layer(path.producer).filters == kept[path.producer] < path.channels
    assert count_flops(small) == CostModel(student, paths, "flops").total(kept) < 0.7 * count_flops(student)
    assert small.count_params() == CostModel(student, paths, "params").total(kept) < 0.7 * student.count_params()


def test_which_channels_can_go():
    """MobileNetV2's expansions and ResNet's inner convolutions, never the channels of a residual sum."""
    mobile = channel_paths(students.build("mobilenet_v2", alpha=0.35, image_size=32))
    ends = {path.producer: path.consumer for path in mobile}
    assert all(ends[f"block_{block}_expand"] == f"block_{block}_project" for block in range(1, 17))
    assert ends["Conv_1"] == "projection"
    # Its output is added to nothing; the others' are.
    assert [name for name in ends if name.endswith("project")] == ["expanded_conv_project", "block_16_project"]
    residual = channel_paths(students.build("resnet50_v2", image_size=32))
    assert {path.producer.rpartition("block")[2][2:] for path in residual} == {"1_conv", "2_conv"}
    assert len(residual) == 2 * 16
    # Without a projection the pooled channels are the embedding.
    bare = channel_paths(students.build("small_cnn", image_size=32, embedding_dim=None))
    assert [path.producer for path in bare] == ["conv_0", "conv_1"]


def test_a_student_with_shared_layers_is_refused():
    image = keras.Input((8, 8, 3), name="image")
    shared = keras.layers.Conv2D(3, 3, padding="same", name="twice")
    student = keras.Model(image, keras.layers.GlobalAveragePooling2D()(shared(shared(image))))
    with pytest.raises(ArgumentError, match=r"cannot be compressed|none can be cut"):
        insert_compactors(student)


def test_a_path_whose_columns_are_all_closed_keeps_one_channel_of_zeros():
    student, pixels = student_of("small_cnn")
    compacted = insert_compactors(student)
    compacted.get_layer("conv_1_compactor").set_weights([np.zeros((32, 32)), np.zeros(32)])
    small = merge(compacted)
    assert small.get_layer("conv_1").filters == 1
    np.testing.assert_allclose(small(pixels), compacted(pixels), atol=1e-4)


@pytest.mark.parametrize("backbone", ["small_cnn", pytest.param("mobilenet_v2", marks=pytest.mark.long)])
def test_the_exported_file_is_smaller_and_gives_the_same(backbone, tmp_path):
    student, pixels = student_of(backbone, **STUDENTS[backbone])
    compacted = insert_compactors(student)
    shrunk(compacted, 0.3)
    small = merge(compacted)
    export_tflite(small, tmp_path / "small.tflite")
    # Less than the student's float32 weights alone would take.
    assert (tmp_path / "small.tflite").stat().st_size < 0.7 * 4 * student.count_params()
    interpreter = open_tflite(tmp_path / "small.tflite")
    run = interpreter.get_signature_runner()
    embeddings = np.concatenate([run(image=image[None])["embedding"] for image in pixels[:4]])
    np.testing.assert_allclose(embeddings, compacted(pixels[:4]), atol=1e-4)
