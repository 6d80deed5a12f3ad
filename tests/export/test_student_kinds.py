"""What may be a student: other shapes are refused at every entry, other policies and layers are converted."""

import keras
import numpy as np
import onnx
import pytest

from export.formats import onnx as onnx_format
from export.formats import tflite as tflite_format
from export.formats.onnx import export_onnx
from export.formats.tflite import export_tflite
from export.gate.bundle import export_student
from export.gate.verify import verify_files
from export.retriever import Retriever
from export.retriever.build import build_retriever
from export.web.site import write_site
from kdistill import students
from kdistill.data import Image, ImageSet
from kdistill.errors import ArgumentError, KdistillError
from kdistill.evaluation import embed_images
from kdistill.evaluation.multiscale import embed_multiscale
from kdistill.runtimes.embedders import embed_pixels, open_embedder

pytestmark = pytest.mark.long

EYE = np.eye(4, dtype=np.float32)
NAMES = list("abcd")


def taking(*shape: int | None, dtype: str = "uint8") -> keras.Model:
    """A network for inputs of this shape."""
    image = keras.Input(shape, dtype=dtype, name="image")
    features = keras.layers.Conv2D(4, 3, name="conv")(keras.layers.Rescaling(1 / 255)(image))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    return keras.Model(image, keras.layers.UnitNormalization(name="embedding")(pooled), name="net")


def photos() -> ImageSet:
    return ImageSet([Image(name, array=np.zeros((9, 9, 3), np.uint8)) for name in NAMES], [0, 0, 1, 1])


def bundle(model, folder):
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    labels = np.zeros(4, int)
    options = dict(gallery_embeddings=EYE, gallery_ids=NAMES, card={})
    return export_student(model, folder, images_pixels=pixels, judge=labels, **options)


ENTRIES = {
    "export_tflite": lambda model, folder: export_tflite(model, folder / "s.tflite"),
    "export_onnx": lambda model, folder: export_onnx(model, folder / "s.onnx"),
    "retriever.tflite": lambda model, folder: build_retriever(model, EYE, NAMES, folder / "r.tflite", k=2),
    "retriever.onnx": lambda model, folder: build_retriever(model, EYE, NAMES, folder / "r.onnx", k=2),
    "export_student": bundle,
    "verify": lambda model, _: verify_files(model, [], np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4, int)),
    "site": lambda model, folder: write_site(folder / "site", student=model, gallery=photos(), embeddings=EYE),
    "embed": lambda model, _: embed_images(model, photos(), image_size=32),
    "multiscale": lambda model, _: embed_multiscale(model, photos()),
    "at_size": lambda model, _: students.at_size(model, 24),
    "at_batch": lambda model, _: students.at_batch(model, 1),
}
SHAPES = {
    "rectangle": ((32, 16, 3), "32 pixels high and 16 wide"),
    "open": ((None, None, 3), "open"),
    "grey": ((32, 32, 1), "RGB"),
}


@pytest.mark.both_stacks
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_refuses_what_is_no_square_of_rgb(entry, shape, tmp_path):
    sides, words = SHAPES[shape]
    with pytest.raises(KdistillError, match=words):
        ENTRIES[entry](taking(*sides), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.both_stacks
def test_a_saved_rectangle_is_not_embedded_with(tmp_path):
    taking(32, 16, 3).save(tmp_path / "net.keras")
    with pytest.raises(KdistillError, match="32 x 16"):
        open_embedder(tmp_path / "net.keras")


@pytest.mark.both_stacks
@pytest.mark.parametrize("export", [export_tflite, export_onnx])
def test_pixels_of_another_type_and_several_inputs_are_refused(export, tmp_path):
    with pytest.raises(KdistillError, match="takes float32 pixels"):
        export(taking(16, 16, 3, dtype="float32"), tmp_path / "net.tflite")
    image, other = keras.Input((16, 16, 3), dtype="uint8"), keras.Input((4,))
    both = keras.Model([image, other], [keras.layers.Flatten()(image), other])
    with pytest.raises(KdistillError, match="2 inputs"):
        export(both, tmp_path / "net.tflite")
    maps = taking(16, 16, 3)
    with pytest.raises(KdistillError, match="one embedding"):
        export(keras.Model(maps.input, maps.get_layer("conv").output), tmp_path / "net.tflite")
    assert list(tmp_path.iterdir()) == []


def other_policy(policy: str) -> keras.Model:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        return students.build("small_cnn", image_size=16, embedding_dim=12, pooling="gem")
    finally:
        keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        pytest.param("mixed_float16", 4e-3, marks=pytest.mark.both_stacks),
        ("bfloat16", 3e-2),
        pytest.param("mixed_bfloat16", 3e-2, marks=pytest.mark.long),
        pytest.param("float64", 1e-5, marks=pytest.mark.long),
    ],
)
def test_students_of_any_policy_become_float32_files(policy, error, student, pixels, tmp_path):
    model = other_policy(policy)
    images = pixels[::6]
    expected = np.asarray(model(images), np.float32)
    assert (expected @ expected.T).min() < 0.999
    # What precision a file gets is decided behind `in_float32`, so these two stand for all.
    for precision in ("float32", "int8"):
        options = dict(precision=precision, calibration=pixels if precision == "int8" else None)
        for suffix, export in ((".tflite", export_tflite), (".onnx", export_onnx)):
            path = tmp_path / f"{precision}{suffix}"
            export(model, path, **options)
            found = embed_pixels(path, images)
            assert found.dtype == np.float32
            if precision == "float32":
                np.testing.assert_allclose(found, expected, atol=error)
    for suffix in (".tflite", ".onnx"):
        path = tmp_path / f"retriever{suffix}"
        unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        build_retriever(model, unit, [str(row) for row in range(len(unit))], path, k=2)
        assert Retriever(path).search(images[4])[0].score == pytest.approx(1, abs=error)


@pytest.mark.both_stacks
def test_a_float32_student_is_its_own(student):
    assert students.in_float32(student) is student


def layered() -> keras.Model:
    """Normalisation by constants (EfficientNet), convolutions in groups and exact GELUs (ConvNeXt), a net in a net."""
    inner = keras.Input((16, 16, 3))
    features = keras.layers.Normalization(mean=[100.0, 90.0, 80.0], variance=[2000.0, 1500.0, 1800.0])(inner)
    features = keras.layers.Conv2D(8, 3, padding="same")(features)
    features = keras.layers.Conv2D(8, 3, padding="same", groups=4, activation="gelu")(features)
    backbone = keras.Model(inner, features, name="backbone")
    image = keras.Input((16, 16, 3), dtype="uint8", name="image")
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(keras.layers.Rescaling(1.0)(image)))
    return keras.Model(image, keras.layers.UnitNormalization(name="embedding")(pooled), name="layered")


@pytest.fixture(scope="module")
def nested() -> keras.Model:
    keras.utils.set_random_seed(1)
    return layered()


@pytest.mark.both_stacks
@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("float16", 5e-3)])
def test_constants_groups_and_gelus_are_converted(precision, error, nested, pixels, tmp_path):
    expected = np.asarray(nested(pixels))
    for suffix, export in ((".tflite", export_tflite), (".onnx", export_onnx)):
        path = tmp_path / f"net{suffix}"
        export(nested, path, precision=precision)
        np.testing.assert_allclose(embed_pixels(path, pixels), expected, atol=error)
    operators = {node.op_type for node in onnx.load(str(tmp_path / "net.onnx")).graph.node}
    assert operators.isdisjoint({"Erfc", "StatefulPartitionedCall"})


@pytest.mark.both_stacks
def test_a_network_in_a_network_is_rebuilt_for_other_batches_and_sizes(nested, pixels):
    fixed = students.at_batch(nested, 2)
    assert fixed.input_shape == (2, 16, 16, 3)
    np.testing.assert_allclose(fixed(pixels[:2]), nested(pixels[:2]), atol=1e-6)
    larger = students.at_size(nested, 24)
    assert larger.input_shape == (None, 24, 24, 3)
    # A field of one colour is the same at any size away from its edges, which padding darkens.
    assert np.asarray(larger(np.full((1, 24, 24, 3), 200, np.uint8))).shape == (1, 8)


@pytest.mark.both_stacks
def test_a_sequential_student_is_rebuilt_and_exported(pixels, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3), dtype="uint8", name="image"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(6, 3),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.UnitNormalization(),
        ]
    )
    np.testing.assert_allclose(students.at_batch(model, 1)(pixels[:1]), model(pixels[:1]), atol=1e-6)
    for suffix, export in ((".tflite", export_tflite), (".onnx", export_onnx)):
        export(model, tmp_path / f"net{suffix}")
        np.testing.assert_allclose(embed_pixels(tmp_path / f"net{suffix}", pixels[:3]), model(pixels[:3]), atol=1e-5)


@pytest.mark.both_stacks
def test_a_size_that_the_network_cannot_take_is_told():
    image = keras.Input((16, 16, 3), dtype="uint8")
    flat = keras.layers.Dense(4)(keras.layers.Flatten()(keras.layers.Rescaling(1.0)(image)))
    with pytest.raises(KdistillError, match="cannot be rebuilt for a batch of None images of 32 pixels"):
        students.at_size(keras.Model(image, flat), 32)
    with pytest.raises(ArgumentError, match="0 pixels"):
        students.at_size(taking(16, 16, 3), 0)


def spoilt_tflite(original):
    def spoilt(*arguments):
        model = original(*arguments)
        largest = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else np.size(buffer.data))
        largest.data = -np.array(largest.data, np.uint8).view(np.float32)
        return model

    return spoilt


def spoilt_onnx(change):
    def wrap(original):
        def spoilt(*arguments):
            model = original(*arguments)
            change(model.graph)
            return model

        return spoilt

    return wrap


def further_input(graph) -> None:
    graph.input.append(onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [3]))


def further_output(graph) -> None:
    graph.node.append(onnx.helper.make_node("Identity", ["embedding"], ["twice"]))
    graph.output.append(onnx.helper.make_tensor_value_info("twice", onnx.TensorProto.FLOAT, [None, 12]))


def doubled(graph) -> None:
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == "embedding":
                node.output[place] = "half"
    graph.node.append(onnx.helper.make_node("Add", ["half", "half"], ["embedding"]))


@pytest.mark.both_stacks
@pytest.mark.parametrize(
    ("module", "spoil", "export", "words"),
    [
        (tflite_format, spoilt_tflite, export_tflite, "other embeddings"),
        (onnx_format, spoilt_onnx(further_input), export_onnx, "inputs 'image'.* 'mean'"),
        (onnx_format, spoilt_onnx(further_output), export_onnx, "outputs .*'twice'"),
        (onnx_format, spoilt_onnx(doubled), export_onnx, "norm 2"),
    ],
)
def test_a_file_that_came_out_wrong_gets_no_name(module, spoil, export, words, student, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_converted", spoil(module._converted))
    path = tmp_path / f"net.{'tflite' if module is tflite_format else 'onnx'}"
    with pytest.raises(KdistillError, match=words):
        export(student, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.both_stacks
def test_a_student_of_values_that_are_not_finite_is_told(tmp_path):
    model = taking(16, 16, 3)
    model.set_weights([np.full(weight.shape, np.nan) for weight in model.get_weights()])
    with pytest.raises(KdistillError, match="not finite"):
        export_tflite(model, tmp_path / "net.tflite")


@pytest.mark.long
def test_a_network_of_keras_applications_becomes_onnx(pixels, tmp_path):
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(1.0)(image)
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_tensor=scaled)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(network.output)
    embedding = keras.layers.UnitNormalization(name="embedding")(keras.layers.Dense(8)(pooled))
    model = keras.Model(image, embedding, name="efficient")
    images = pixels[::9].repeat(2, axis=1).repeat(2, axis=2)
    export_onnx(model, tmp_path / "net.onnx")
    np.testing.assert_allclose(embed_pixels(tmp_path / "net.onnx", images), model(images), atol=1e-4)


@pytest.mark.both_stacks
@pytest.mark.skipif(keras.__version__.startswith("2."), reason="Keras 2 gives no layer such a name")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_layers_may_have_names_that_no_saved_model_takes(precision, tmp_path):
    """Keras 3 names layers as they come; variables of a SavedModel may not begin with _."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="pixels")
    features = keras.layers.Conv2D(8, 3, name="_stem")(keras.layers.Rescaling(1 / 255)(image))
    keras.Model(image, keras.layers.BatchNormalization(name="_norm")(features)).save(tmp_path / "network.keras")
    student = students.build(str(tmp_path / "network.keras"), image_size=32, embedding_dim=6)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    given = pixels if precision == "int8" else None
    export_tflite(student, tmp_path / "s.tflite", precision=precision, calibration=given)
    embedded = embed_pixels(tmp_path / "s.tflite", pixels)
    least = np.sum(embedded * student.predict(pixels, verbose=0), axis=1).min()
    assert least > (0.98 if precision == "int8" else 1 - 1e-5)
    build_retriever(student, np.eye(6, dtype=np.float32), list("abcdef"), tmp_path / "r.tflite", k=2)
