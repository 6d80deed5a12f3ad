"""Files of the converter that needs no `tf.lite` are the student too, and find what its own converter's files find."""

import copy
import functools

import keras
import numpy as np
import pytest

from export.formats import onnx, onnx_by_jax
from export.formats.flatbuffer import operator_names, read_model
from export.formats.input_twins import write_twin
from export.formats.tflite import PRECISIONS, export_tflite
from export.gate.bundle import export_student
from export.retriever.client import Retriever
from kdistill import students
from kdistill.errors import ArgumentError
from kdistill.runtimes.embedders import embed_pixels
from kdistill.runtimes.tflite import open_tflite

LEAST = {"float32": 0.999999, "float16": 0.9999, "dynamic_int8": 0.95, "int8": 0.9, "int8_float_head": 0.9}
"""Mean cosine to the student."""


@pytest.fixture(scope="module")
def photos():
    """uint8 [60, 64, 64, 3]: smooth colours of many kinds."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (60, 4, 4, 3))
    noise = rng.integers(-9, 10, (60, 64, 64, 3))
    return np.clip(small.repeat(16, axis=1).repeat(16, axis=2) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def network(request, photos):
    """A student whose statistics and projection know the photos; ranges of an unfitted one are nearly all 0."""
    keras.utils.set_random_seed(0)
    options = {"alpha": 0.35} if request.param == "mobilenet_v2" else {}
    model = students.build(request.param, image_size=64, embedding_dim=16, **options)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    model(photos, training=True)
    students.initialise_projection(model, students.pooled_features(model).predict(photos, verbose=0))
    return model


def shared_of_ten(*embeddings: np.ndarray) -> float:
    """Returns which share of its ten nearest an image has in both."""
    nearest = []
    for rows in embeddings:
        scores = rows @ rows.T
        np.fill_diagonal(scores, -2)
        nearest.append(np.argsort(-scores, axis=1, kind="stable")[:, :10])
    return float(np.mean([len(set(one) & set(other)) for one, other in zip(*nearest, strict=True)])) / 10


@pytest.mark.parametrize(
    ("network", "precision"),
    [
        *(("small_cnn", precision) for precision in PRECISIONS),
        *(("mobilenet_v2", precision) for precision in ("float32", "int8")),
        ("mobilenet_v3_small", "float32"),
    ],
    indirect=["network"],
)
def test_each_precision_gives_the_students_embeddings(precision, network, photos, tmp_path):
    given = photos if precision in ("int8", "int8_float_head") else None
    path = tmp_path / "s.tflite"
    export_tflite(network, path, precision=precision, calibration=given, converter="litert")
    found, expected = embed_pixels(path, photos), network.predict(photos, verbose=0)
    assert np.sum(found * expected, axis=1).mean() > LEAST[precision]
    (image,) = open_tflite(path).get_input_details()
    assert image["dtype"] is np.uint8
    if precision == "float32":
        export_tflite(network, tmp_path / "tf.tflite")
        assert shared_of_ten(found, embed_pixels(tmp_path / "tf.tflite", photos)) >= 0.999
    if precision == "float16":
        assert path.stat().st_size < 2.4 * network.count_params() + 20_000
    if "int8" in precision:
        assert path.stat().st_size < 2 * network.count_params() + 60_000


@pytest.mark.parametrize("network", ["mobilenet_v2"], indirect=True)
def test_onnx_without_tf2onnx_does_so_in_each_precision(network, photos, tmp_path, monkeypatch):
    # One conversion for all: what follows it does not know where the graph is from.
    once = functools.cache(onnx_by_jax.converted)
    monkeypatch.setattr(onnx_by_jax, "converted", lambda *given: copy.deepcopy(once(*given)))
    expected, path = network.predict(photos, verbose=0), tmp_path / "s.onnx"
    for precision in onnx.PRECISIONS:
        given = photos if precision == "int8" else None
        onnx.export_onnx(network, path, precision=precision, calibration=given, converter="litert")
        found = embed_pixels(path, photos)
        # tf2onnx's float16 file of this network comes to 0.99987.
        assert np.sum(found * expected, axis=1).mean() > (0.9998 if precision == "float16" else LEAST[precision])
        if precision == "float32":
            onnx.export_onnx(network, tmp_path / "tf.onnx")
            assert shared_of_ten(found, embed_pixels(tmp_path / "tf.onnx", photos)) >= 0.999


OWN = """
import keras

@keras.saving.register_keras_serializable("own_network")
class Doubled(keras.layers.Layer):
    def call(self, inputs): return inputs * 2.0

def network(size):
    image = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    return keras.Model(image, Doubled()(keras.layers.Conv2D(6, 3, strides=2, activation="relu")(scaled)))
"""


def test_layers_of_ours_and_of_the_users_own_take_that_way_with_a_fixed_batch(photos, tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    options = {"embedding_dim": None, "pooling": "gem", "hash_bits": 16, "trusted": ("own_network",)}
    student = students.build("own_network:network", image_size=64, **options)
    onnx.export_onnx(student, tmp_path / "s.onnx", batch=2, converter="litert")
    expected = student.predict(photos[:2], verbose=0)
    np.testing.assert_allclose(embed_pixels(tmp_path / "s.onnx", photos[:2]), expected, atol=1e-5)


def test_a_bundle_passes_its_gate_and_its_files_have_twins(student, pixels, labels, embeddings, tmp_path):
    rows = export_student(
        student,
        tmp_path,
        images_pixels=pixels,
        judge=labels,
        gallery_embeddings=embeddings,
        gallery_ids=[str(row) for row in range(len(embeddings))],
        k=3,
        card={},
        precisions=("float32", "float16", "dynamic_int8", "int8"),
        calibration=pixels,
        converter="litert",
    )
    failed = {row["name"]: row["reason"] for row in rows if not row["passed"]}
    assert failed.keys() <= {"student_int8.tflite"}, failed
    assert Retriever(tmp_path / "retriever.tflite").search(pixels[4])[0].id == "4"
    write_twin(tmp_path / "student.tflite", tmp_path / "twin.tflite", "int8")
    np.testing.assert_allclose(embed_pixels(tmp_path / "twin.tflite", pixels[:3]), embeddings[:3], atol=1e-4)
    # TensorFlow's converter squares and multiplies where this one does so in other operators.
    assert operator_names(read_model(tmp_path / "student.tflite")) <= {
        *("ADD", "CAST", "CONV_2D", "FULLY_CONNECTED", "MEAN", "MINIMUM", "MUL", "RSQRT", "SUM", "RESHAPE"),
    }


def test_another_name_is_refused(student, tmp_path):
    with pytest.raises(ArgumentError, match="choose one of tf, litert"):
        export_tflite(student, tmp_path / "s.tflite", converter="toco")
