"""What is said of a model from outside is checked where it enters: shapes, placeholders, types, outputs."""

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto, helper

from export.formats.tflite import export_tflite
from kdistill import students
from kdistill.errors import ArgumentError, KdistillError, first_line
from kdistill.runtimes.image_model import ImageInput, in_batches
from kdistill.runtimes.inputs import read_image_input
from kdistill.runtimes.keras_models.keras_model import open_keras_model
from kdistill.runtimes.opening import open_image_model
from kdistill.runtimes.outputs import as_vectors, pick_output
from kdistill.teachers import open_teacher


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ([None, 8, 8, 3], (8, None, False)),
        (["batch", 8, 8, 3], (8, None, False)),
        ([-1, 3, 8, 8], (8, None, True)),
        ([4, 8, 8, 3], (8, 4, False)),
        ([0, 8, 8, 3], (8, None, False)),
        (np.array([1, 3, 8, 8], np.int32), (8, 1, True)),
        ([1, 3, 3, 3], (3, 1, False)),
    ],
)
def test_shapes_that_say_all(shape, expected):
    source = read_image_input("the model", shape, np.float32)
    assert (source.side, source.batch, source.channels_first) == expected


@pytest.mark.parametrize("axis", [None, -1, 0, "height", "", True, 1])
@pytest.mark.parametrize("layout", ["last", "first"])
def test_a_placeholder_is_never_a_size(axis, layout):
    shape = [1, axis, axis, 3] if layout == "last" else [1, 3, axis, axis]
    with pytest.raises(KdistillError, match=r"the model m: .* its size is open .* fixed height and width"):
        read_image_input("the model m", shape, np.float32)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ([1, 8, None, 3], np.float32, "its size is open"),
        ([1, 8, 9, 3], np.float32, "8 x 9"),
        ([1, 8, 8, 1], np.float32, "must have one input of shape"),
        ([1, 8, 9, None], np.float32, "must have one input of shape"),
        ([8, 8, 3], np.float32, "must have one input of shape"),
        ([], np.float32, "a scalar"),
        ([1, 8, 8, 3], "tensor(string)", "takes tensor"),
        ([1, 8, 8, 3], np.bool_, "pixels cannot be given"),
        ([1, 8, 8, 3], np.int8, "pixels cannot be given"),
    ],
)
def test_inputs_that_cannot_be_used(shape, dtype, words):
    with pytest.raises(KdistillError, match=words):
        read_image_input("the model", shape, dtype)


def test_quantised_bytes_are_not_taken_as_they_are():
    assert read_image_input("m", [1, 8, 8, 3], np.uint8).takes_bytes
    assert not read_image_input("m", [1, 8, 8, 3], np.int8, (0.5, 3)).takes_bytes
    assert not ImageInput(8, np.dtype(np.float32)).takes_bytes


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 8])
def test_a_fixed_batch_is_padded(rows):
    seen = []

    def run(part):
        seen.append(len(part))
        return part.sum((1, 2, 3))[:, None]

    images = np.random.default_rng(0).random((rows, 2, 2, 3))
    np.testing.assert_allclose(in_batches(run, 4)(images), images.sum((1, 2, 3))[:, None])
    assert set(seen) == {4}


def test_vectors_of_every_shape():
    for shape in ((2, 5), (2, 1, 1, 5), (2, 5, 1, 1)):
        assert as_vectors(np.ones(shape), "m").shape == (2, 5)
    for shape in ((2, 3, 5), ()):
        with pytest.raises(KdistillError, match="not one vector an image"):
            as_vectors(np.ones(shape), "m")


def test_outputs_by_name():
    assert pick_output(["anything"], "m") == "anything"
    assert pick_output(["logits", "embedding"], "m") == "embedding"
    with pytest.raises(KdistillError, match=r"has 2 outputs \(a, b\)"):
        pick_output(["a", "b"], "m")


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n one \n two")) == "one"
    assert first_line(ValueError("  ")) == "ValueError"


WEIGHTS = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)
IMAGES = np.random.default_rng(4).integers(0, 256, (5, 6, 6, 3)).astype(np.float32)
EXPECTED = IMAGES.mean((1, 2)) @ WEIGHTS


def several(structure: str) -> keras.Model:
    """A model with an output `embedding` that is neither the first nor the first by name or by creation."""
    image = keras.Input((6, 6, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    named = {"dict": "z_layer", "list": "embedding", "tuple": "embedding"}[structure]
    embedding = keras.layers.Dense(5, use_bias=False, name=named)(pooled)
    logits, boxes = keras.layers.Dense(2, name="a_logits")(pooled), keras.layers.Dense(4, name="z_boxes")(pooled)
    outputs = {"logits": logits, "embedding": embedding, "boxes": boxes}
    if structure != "dict":
        outputs = [logits, embedding, boxes] if structure == "list" else (boxes, logits, embedding)
    model = keras.Model(image, outputs)
    model.get_layer(named).set_weights([WEIGHTS])
    return model


@pytest.mark.parametrize("structure", ["dict", "list", "tuple"])
@pytest.mark.parametrize("form", ["memory", "file", "savedmodel"])
def test_of_several_outputs_the_embedding_counts(tmp_path, structure, form):
    model = several(structure)
    if form == "memory":
        opened = open_keras_model(model, "m")
    elif form == "file":
        model.save(tmp_path / "m.keras")
        opened = open_image_model(tmp_path / "m.keras", "m")
    else:
        names = ("logits", "embedding", "boxes") if structure != "tuple" else ("boxes", "logits", "embedding")

        @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 3], tf.float32, name="image")])
        def serve(image):
            outputs = model(image, training=False)
            return outputs if structure == "dict" else dict(zip(names, outputs, strict=True))

        holder = tf.Module()
        holder.model = model
        tf.saved_model.save(holder, str(tmp_path / "saved"), signatures=serve)
        opened = open_image_model(tmp_path / "saved", "m")
    np.testing.assert_allclose(opened.run(IMAGES), EXPECTED, rtol=1e-4)


def test_a_model_in_a_model_and_one_without_the_name():
    inner = several("dict")
    image = keras.Input((6, 6, 3))
    outer = keras.Model(image, {"embedding": inner(image)["embedding"], "logits": inner(image)["logits"]})
    np.testing.assert_allclose(open_keras_model(outer, "m").run(IMAGES), EXPECTED, rtol=1e-4)
    nameless = keras.Model(image, {"a": inner(image)["embedding"], "b": inner(image)["logits"]})
    with pytest.raises(KdistillError, match=r"none is called 'embedding', .* name one with --teacher_output"):
        open_keras_model(nameless, "m")


def tflite_of(function, shape, path, *, signature=True):
    holder = tf.Module()
    call = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="image")])
    if signature:
        tf.saved_model.save(holder, str(path.with_suffix("")), signatures=call)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(path.with_suffix("")))
    else:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], holder)
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("batch", [None, 1, 2])
def test_a_tflite_signature_names_the_outputs(tmp_path, batch):
    def serve(image):
        pooled = tf.reduce_mean(image, [1, 2])
        return {"logits": pooled @ tf.ones((3, 2)), "embedding": pooled @ tf.constant(WEIGHTS)}

    opened = open_image_model(tflite_of(serve, [batch, 6, 6, 3], tmp_path / "m.tflite"), "m")
    assert opened.input.batch == batch
    np.testing.assert_allclose(opened.run(IMAGES), EXPECTED, rtol=1e-4)


def test_a_tflite_without_signature(tmp_path):
    path = tflite_of(
        lambda image: tf.reduce_mean(image, [1, 2]) @ tf.constant(WEIGHTS),
        [1, 6, 6, 3],
        tmp_path / "m.tflite",
        signature=False,
    )
    np.testing.assert_allclose(open_image_model(path, "m").run(IMAGES), EXPECTED, rtol=1e-4)


@pytest.mark.parametrize("signature", [True, False])
def test_a_tflite_of_open_size_is_refused_by_every_reader(tmp_path, signature):
    path = tflite_of(
        lambda image: tf.reduce_mean(image, [1, 2]), [1, None, None, 3], tmp_path / "m.tflite", signature=signature
    )
    for use in (lambda: open_teacher(path, scaling="unit"), lambda: open_image_model(path, "m")):
        with pytest.raises(KdistillError, match=r"its size is open \(1 x \? x \? x 3\)"):
            use()


def test_an_onnx_of_open_size_is_refused(tmp_path):
    shape = ["batch", "height", "width", 3]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["image"], ["embedding"], axes=[1, 2], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(KdistillError, match="its size is open"):
        open_image_model(tmp_path / "m.onnx", "m")


def test_a_saved_model_of_a_fixed_batch_takes_any_number(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([2, 6, 6, 3], tf.float32)])
    def serve(image):
        return {"embedding": tf.reduce_mean(image, [1, 2]) @ tf.constant(WEIGHTS)}

    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"), signatures=serve)
    np.testing.assert_allclose(open_image_model(tmp_path / "saved", "m").run(IMAGES), EXPECTED, rtol=1e-4)


def test_what_is_no_model_file(tmp_path):
    with pytest.raises(ArgumentError, match=r"m is none of \.keras, \.onnx, \.tflite"):
        open_image_model(tmp_path / "m.pt", "m")
    with pytest.raises(KdistillError, match="m does not exist"):
        open_image_model(tmp_path / "m.onnx", "m")


@pytest.mark.parametrize("suffix", ["keras", "tflite", "onnx"])
def test_one_open_file_in_many_threads(tmp_path, suffix):
    from concurrent.futures import ThreadPoolExecutor

    from export.formats.onnx import export_onnx

    keras.utils.set_random_seed(0)
    student = students.build("small_cnn", image_size=16, embedding_dim=6)
    path = tmp_path / f"s.{suffix}"
    writers = {"keras": lambda: student.save(path), "tflite": lambda: export_tflite(student, path)}
    writers.get(suffix, lambda: export_onnx(student, path))()
    model = open_image_model(path, "m", callers=4)
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    expected = [model.run(image[None]) for image in images]

    def wrong(seed: int) -> int:
        order = np.random.default_rng(seed).integers(0, 8, 150)
        return sum(not np.array_equal(model.run(images[n][None]), expected[n]) for n in order)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(wrong, range(8))) == 0
