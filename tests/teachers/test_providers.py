"""Every kind of teacher that runs here, against values from a formula."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from kdistill.data import Image, resize
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import NotAsked, Teacher, open_teacher
from kdistill.teachers.providers.preprocessing import SCALINGS

SIZE = 6
WEIGHTS = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)


def described(images) -> np.ndarray:
    """A teacher that is found by its name."""
    return np.stack([image.pixels().mean(axis=(0, 1)) for image in images])


@pytest.fixture(scope="module")
def images() -> list[Image]:
    random = np.random.default_rng(0)
    shapes = [(8, 9), (SIZE, SIZE), (20, 7)]
    return [
        Image(f"image{index}", array=random.integers(0, 256, (*shape, 3), dtype=np.uint8))
        for index, shape in enumerate(shapes)
    ]


def expected(images, scaling: str) -> np.ndarray:
    """Mean colour of the resized and scaled image, times WEIGHTS."""
    pixels = np.stack([resize(image.pixels(), SIZE) for image in images]).astype(np.float64)
    scaled = {
        "none": pixels,
        "unit": pixels / 255,
        "symmetric": pixels / 127.5 - 1,
        "torch": (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    }[scaling]
    return scaled.mean(axis=(1, 2)) @ WEIGHTS


@pytest.fixture(scope="module")
def keras_model():
    import keras

    image = keras.Input((SIZE, SIZE, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(5, use_bias=False, name="embedding")(pooled), name="tiny")
    model.set_weights([WEIGHTS])
    return model


@pytest.fixture(scope="module")
def paths(keras_model, tmp_path_factory):
    """One file of each kind with the same function."""
    import onnx
    import tensorflow as tf
    from onnx import TensorProto, helper

    folder = tmp_path_factory.mktemp("models")
    keras_model.save(folder / "model.keras")

    class Exported(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="image")])
        def serve(self, image):
            return {"embedding": tf.reduce_mean(image, [1, 2]) @ tf.constant(WEIGHTS)}

    module = Exported()
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": module.serve})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "model.tflite").write_bytes(converter.convert())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    random = np.random.default_rng(1)
    converter.representative_dataset = lambda: (
        [random.uniform(0, 255, (1, SIZE, SIZE, 3)).astype(np.float32)] for _ in range(50)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    (folder / "quantised.tflite").write_bytes(converter.convert())

    def write_onnx(name: str, shape: list, kind: int, axes: list[int]) -> None:
        nodes = [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["real"], ["mean"], axes=axes, keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["embedding"]),
        ]
        weights = helper.make_tensor("weights", TensorProto.FLOAT, WEIGHTS.shape, WEIGHTS.ravel())
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", kind, shape)],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [shape[0], 5])],
            [weights],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, folder / name)

    write_onnx("last.onnx", ["batch", SIZE, SIZE, 3], TensorProto.FLOAT, [1, 2])
    write_onnx("first.onnx", ["batch", 3, SIZE, SIZE], TensorProto.FLOAT, [2, 3])
    write_onnx("half.onnx", ["batch", 3, SIZE, SIZE], TensorProto.FLOAT16, [2, 3])
    write_onnx("bytes.onnx", ["batch", SIZE, SIZE, 3], TensorProto.UINT8, [1, 2])
    write_onnx("pairs.onnx", [2, SIZE, SIZE, 3], TensorProto.FLOAT, [1, 2])
    write_onnx("oblong.onnx", ["batch", SIZE, 9, 3], TensorProto.FLOAT, [1, 2])
    return folder


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", ["model.keras", "saved", "model.tflite", "last.onnx", "first.onnx", "pairs.onnx"])
def test_models_see_the_resized_and_scaled_image(paths, images, name, scaling):
    teacher = open_teacher(paths / name, scaling=scaling)
    answers = teacher.embed(images)
    assert isinstance(teacher, Teacher)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, expected(images, scaling), rtol=2e-4, atol=2e-4)
    assert teacher.view == f"pillow-bilinear-{SIZE}/{scaling}"
    assert teacher.name.startswith(f"{name}@")


def test_half_precision_input(paths, images):
    answers = open_teacher(paths / "half.onnx", scaling="unit").embed(images)
    np.testing.assert_allclose(answers, expected(images, "unit"), atol=5e-3)


def test_byte_input_takes_pixels_as_they_are(paths, images):
    np.testing.assert_allclose(open_teacher(paths / "bytes.onnx").embed(images), expected(images, "none"), rtol=1e-4)
    with pytest.raises(ArgumentError, match="must be 'none', not 'unit'"):
        open_teacher(paths / "bytes.onnx", scaling="unit")


def test_quantised_output_is_dequantised(paths, images):
    answers = open_teacher(paths / "quantised.tflite").embed(images)
    truth = expected(images, "none")
    # Eight bits over the range of the outputs.
    np.testing.assert_allclose(answers, truth, atol=0.05 * np.abs(truth).max())
    assert np.unique(answers).size > 1


def test_a_model_in_memory_is_named_by_its_weights(keras_model, images):
    import keras

    teacher = open_teacher(keras_model, scaling="unit")
    np.testing.assert_allclose(teacher.embed(images), expected(images, "unit"), rtol=1e-4)
    copy = keras.models.clone_model(keras_model)
    copy.set_weights([WEIGHTS + 1])
    assert open_teacher(copy, scaling="unit").name != teacher.name
    copy.set_weights([WEIGHTS])
    assert open_teacher(copy, scaling="unit").name == teacher.name


def test_of_several_outputs_the_embedding_is_taken(images):
    import keras

    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(image))
    logits = keras.layers.Dense(2, name="logits")(pooled)
    embedding = keras.layers.Dense(5, use_bias=False, name="embedding")(pooled)
    model = keras.Model(image, [logits, embedding])
    model.get_layer("embedding").set_weights([WEIGHTS])
    np.testing.assert_allclose(open_teacher(model).embed(images), expected(images, "none"), rtol=1e-4)
    with pytest.raises(KdistillError, match="none is called 'embedding'"):
        open_teacher(keras.Model(image, [logits, keras.layers.Dense(5, name="other")(pooled)]))


def test_outputs_that_are_maps_and_inputs_that_are_not_square_are_refused(paths, images):
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    boxes = keras.Model(image, keras.layers.Reshape((2, 3, 4, 5))(keras.layers.Conv2D(120, SIZE)(image)))
    with pytest.raises(KdistillError, match="not one vector an image"):
        open_teacher(boxes, scaling="none")
    with pytest.raises(KdistillError, match=r"square of fixed size, it is 6 x 9"):
        open_teacher(paths / "oblong.onnx")
    with pytest.raises(KdistillError, match=r"its size is open \(\? x \? x \? x 3\)"):
        open_teacher(keras.Model(any_size := keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)(any_size)))
    with pytest.raises(KdistillError, match="one input of shape"):
        open_teacher(keras.Model(vector := keras.Input((3,)), keras.layers.Dense(2)(vector)))


def test_a_keras_file_with_code_is_not_run(tmp_path, monkeypatch):
    import keras

    image = keras.Input((SIZE, SIZE, 3))
    keras.Model(image, keras.layers.Lambda(lambda pixels: pixels[:, 0, 0])(image)).save(tmp_path / "lambda.keras")
    with pytest.raises(KdistillError, match="Lambda"):
        open_teacher(tmp_path / "lambda.keras")
    with zipfile.ZipFile(tmp_path / "import.keras", "w") as archive:
        archive.writestr("config.json", '{"module": "os", "class_name": "system", "config": {"command": "true"}}')
    with pytest.raises(KdistillError, match="module 'os'"):
        open_teacher(tmp_path / "import.keras")


@pytest.mark.parametrize("name", ["broken.keras", "broken.tflite", "broken.onnx", "broken.npz", "broken.npy"])
def test_damaged_files_are_refused_in_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing that any reader knows")
    (tmp_path / "broken.txt").write_text("a\n")
    with pytest.raises(KdistillError, match=name):
        open_teacher(tmp_path / name)


def test_a_table_looks_up_ids(tmp_path, images):
    vectors = np.arange(12, dtype=np.float64).reshape(4, 3)
    ids = np.array(["image2", "other", "image0", "image1"])
    np.savez(tmp_path / "table.npz", ids=ids, embeddings=vectors)
    np.savez(tmp_path / "encoded.npz", ids=ids.astype("S"), embeddings=vectors)
    np.save(tmp_path / "plain.npy", vectors)
    (tmp_path / "plain.txt").write_text("\n".join(ids) + "\n")
    names = ["table.npz", "encoded.npz", "plain.npy"]
    try:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({"id": ids.tolist(), "embedding": vectors.tolist()})
        pyarrow.parquet.write_table(table, tmp_path / "table.parquet")
        names.append("table.parquet")
    except ImportError:
        pass
    for name in names:
        teacher = open_teacher(str(tmp_path / name))
        answers = teacher.embed(images)
        np.testing.assert_array_equal(answers, vectors[[2, 3, 0]])
        assert (answers.dtype, teacher.dimension, teacher.view) == (np.float32, 3, "id")
        with pytest.raises(NotAsked, match=rf"'stranger' has no row in .*{name}"):
            teacher.embed([images[0], Image("stranger", array=images[0].pixels())])


LINES = {
    "byte order mark": (b"\xef\xbb\xbfa\nb\n", ["a", "b"]),
    "line ends of Windows": (b"a\r\nb\r\n", ["a", "b"]),
    "line ends of Windows, no last one": (b"a\r\nb", ["a", "b"]),
    "no UTF-8": (b"caf\xe9\nb\n", ["caf\\xe9", "b"]),
    "characters at which Python splits": ("a\u2028\x0c\x85z\nb\rc\n".encode(), ["a\u2028\x0c\x85z", "b\rc"]),
    "blanks at the ends": (b" a \n\tb", [" a ", "\tb"]),
}


@pytest.mark.parametrize("case", LINES)
def test_ids_beside_a_matrix_are_lines_of_text(tmp_path, case):
    content, ids = LINES[case]
    np.save(tmp_path / "t.npy", np.eye(2))
    (tmp_path / "t.txt").write_bytes(content)
    teacher = open_teacher(tmp_path / "t.npy")
    images = [Image(name, array=np.zeros((1, 1, 3), np.uint8)) for name in ids]
    np.testing.assert_array_equal(teacher.embed(images), np.eye(2))


def test_ids_in_utf_16_are_refused(tmp_path):
    np.save(tmp_path / "t.npy", np.eye(2))
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        (tmp_path / "t.txt").write_bytes("a\nb\n".encode(encoding))
        with pytest.raises(KdistillError, match=r"t\.txt are no UTF-8 text"):
            open_teacher(tmp_path / "t.npy")


def test_ids_that_are_no_text_are_those_of_the_images(tmp_path):
    raw = os.fsdecode(b"caf\xe9.jpg")
    images = [Image(raw, array=np.zeros((1, 1, 3), np.uint8)), Image("b", array=np.zeros((1, 1, 3), np.uint8))]
    for ids in ([raw, "b"], np.array([b"caf\xe9.jpg", b"b"]), ["caf\\xe9.jpg", "b"]):
        np.savez(tmp_path / "t.npz", ids=ids, embeddings=np.eye(2))
        np.testing.assert_array_equal(open_teacher(tmp_path / "t.npz").embed(images), np.eye(2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(ids=["a"]), "no array embeddings"),
        (dict(ids=["a"], embeddings=np.zeros((2, 3))), "1 ids and embeddings of shape"),
        (dict(ids=["a", "a"], embeddings=np.zeros((2, 3))), "the id 'a' more than once"),
        (dict(ids=["a"], embeddings=np.array([["x"]])), "row of numbers"),
        (dict(ids=[["a"], ["b"]], embeddings=np.zeros((2, 3))), "names stand in one row"),
        (dict(ids=np.array(["a", None], object), embeddings=np.zeros((2, 3))), "cannot be read"),
    ],
)
def test_tables_that_do_not_belong_together(tmp_path, arrays, message):
    np.savez(tmp_path / "table.npz", **arrays)
    with pytest.raises(KdistillError, match=message):
        open_teacher(tmp_path / "table.npz")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_no_pickle_is_loaded(tmp_path):
    (tmp_path / "table.npy").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "table.txt").write_text("a\n")
    np.savez(tmp_path / "table.npz", ids=np.array([Trap()], object), embeddings=np.zeros((1, 2)))
    for name in ("table.npy", "table.npz"):
        with pytest.raises(KdistillError, match="cannot be read"):
            open_teacher(tmp_path / name)


def test_functions_by_object_and_by_name(images):
    by_object = open_teacher(described)
    by_name = open_teacher(f"{__name__}:described")
    assert by_object.name == by_name.name == f"{__name__}:described"
    np.testing.assert_array_equal(by_name.embed(images), described(images))
    assert open_teacher(by_object) is by_object


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("no/such/file.onnx", KdistillError, "there is no teacher at"),
        ("no_such_module:function", ArgumentError, "cannot be imported"),
        ("math:pi", ArgumentError, "is not a function"),
        ("math:no_such_function", ArgumentError, "cannot be imported"),
        (7, ArgumentError, "int cannot serve as a teacher"),
    ],
)
def test_what_is_no_teacher(spec, kind, message):
    with pytest.raises(kind, match=message):
        open_teacher(spec)


MODULES = {
    "raises": ("raise RuntimeError('no service')", "RuntimeError: no service"),
    "lacks a variable": ("import os\nos.environ['NO_SUCH_KEY_1']", "KeyError: 'NO_SUCH_KEY_1'"),
    "lacks a file": ("open('no such file')", "FileNotFoundError"),
    "ends the program": ("raise SystemExit('usage: ...')", "SystemExit: usage"),
    "is no Python": ("def (", "SyntaxError"),
    "has a class": ("class embed:\n    pass", "is a class; give a function"),
    "is asynchronous": ("async def embed(images):\n    return []", "is asynchronous; give a function"),
    "is a generator": ("def embed(images):\n    yield 1", "is a generator; give a function"),
    "is called asynchronously": (
        "class Embed:\n    async def __call__(self, images):\n        return []\nembed = Embed()",
        "is asynchronous",
    ),
}


@pytest.mark.parametrize("case", MODULES)
def test_functions_that_cannot_be_used_are_refused_before_anything_is_asked(tmp_path, monkeypatch, case):
    content, words = MODULES[case]
    name = f"module_{list(MODULES).index(case)}_of_a_user"
    (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArgumentError, match=rf"{name}:embed' .*{words}"):
        open_teacher(f"{name}:embed")


def test_unknown_kinds_of_files(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(ArgumentError, match="of no known kind"):
        open_teacher(tmp_path / "model.pth")
    with pytest.raises(KdistillError, match=r"without saved_model.pb"):
        open_teacher(tmp_path)
    with pytest.raises(ArgumentError, match="unknown teacher scaling 'big'"):
        open_teacher(described, scaling="big")


def test_a_changed_file_is_another_teacher(tmp_path):
    names = set()
    for value in (1.0, 2.0):
        np.savez(tmp_path / "table.npz", ids=["a"], embeddings=np.full((1, 2), value))
        names.add(open_teacher(tmp_path / "table.npz").name)
    assert len(names) == 2
