"""An int8 backbone under a float head keeps the embeddings of a GeM student that full int8 spoils."""

import keras
import numpy as np
import pytest

from export.formats.flatbuffer import read_model
from export.formats.tflite import export_tflite
from kdistill import students
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.embedders import embed_pixels

OPERATORS = {"CONV_2D": 3, "FULLY_CONNECTED": 9, "POW": 78}
FLOAT32, INT8 = 0, 9


@pytest.fixture(scope="module")
def gem_student(pixels, labels) -> keras.Model:
    """A trained student with GeM pooling of a high exponent, as fine-tuned retrieval models have."""
    keras.utils.set_random_seed(5)
    model = students.build("small_cnn", image_size=16, embedding_dim=12, pooling="gem")
    classifier = keras.Model(model.input, keras.layers.Dense(6)(model.output))
    classifier.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    classifier.fit(pixels, labels, epochs=12, verbose=0)
    model.get_layer("pool").set_weights([np.float32(5)])
    return model


def test_the_float_head_keeps_what_full_int8_loses(gem_student, pixels, tmp_path):
    expected = np.asarray(gem_student.predict(pixels, verbose=0))
    assert (expected @ expected.T).min() < 0.9  # the embeddings differ, or parity would prove nothing
    least = {}
    for precision in ("int8", "int8_float_head"):
        export_tflite(gem_student, tmp_path / "student.tflite", precision=precision, calibration=pixels)
        ours = embed_pixels(tmp_path / "student.tflite", pixels)
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
        least[precision] = float(np.sum(ours * expected, axis=1).min())
    assert least["int8_float_head"] > 0.99
    assert 1 - least["int8_float_head"] < 0.5 * (1 - least["int8"])


def test_convolutions_are_int8_and_the_head_is_float(gem_student, pixels, tmp_path):
    export_tflite(gem_student, tmp_path / "student.tflite", precision="int8_float_head", calibration=pixels)
    model = read_model(tmp_path / "student.tflite")
    (graph,) = model.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    kinds = {name: set() for name in OPERATORS}
    for operator in graph.operators:
        for name, number in OPERATORS.items():
            if codes[operator.opcodeIndex] == number:
                kinds[name].add(graph.tensors[operator.outputs[0]].type)
    assert kinds["CONV_2D"] == {INT8}
    assert kinds["FULLY_CONNECTED"] == kinds["POW"] == {FLOAT32}


def test_students_without_a_pooling_are_refused(pixels, tmp_path):
    image = keras.Input((16, 16, 3), dtype="uint8", name="image")
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.UnitNormalization(name="embedding")(keras.layers.Dense(8)(flat)))
    with pytest.raises(KdistillError, match="'pool'"):
        export_tflite(model, tmp_path / "a.tflite", precision="int8_float_head", calibration=pixels)
    with pytest.raises(ArgumentError, match="calibration"):
        export_tflite(model, tmp_path / "a.tflite", precision="int8_float_head")
    assert not list(tmp_path.iterdir())
