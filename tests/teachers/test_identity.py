"""Two teachers share a name only where everything that decides their answers is the same."""

import shutil
import sys

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from kdistill.data import Image
from kdistill.errors import ArgumentError, KdistillError
from kdistill.runtimes.digest import model_digest
from kdistill.teachers import open_teacher

SIZE = 4
IMAGES = [Image(str(n), array=np.full((SIZE, SIZE, 3), 20 * n + 5, np.uint8)) for n in range(3)]


def write_onnx(folder, value: float, *, location: str = "model.onnx_data", where: str = "initializer"):
    """A model whose weights, all `value`, lie in a file beside it: as an initialiser or in an attribute."""
    weights = numpy_helper.from_array(np.full((3, 2), value, np.float32), "weights")
    external_data_helper.set_external_data(weights, location)
    file = folder / location
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0)]
    if where == "attribute":
        nodes.append(helper.make_node("Constant", [], ["weights"], value=weights))
    nodes.append(helper.make_node("MatMul", ["mean", "weights"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 2])],
        [weights] if where == "initializer" else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize("location", ["model.onnx_data", "weights.bin", "parts/0"])
def test_weights_beside_an_onnx_file_count(tmp_path, location):
    path = write_onnx(tmp_path, 1.0, location=location)
    first = open_teacher(path, scaling="none")
    np.testing.assert_allclose(first.embed(IMAGES)[:, 0], [15, 75, 135])
    assert open_teacher(path, scaling="none").name == first.name
    written = path.read_bytes()
    second = open_teacher(write_onnx(tmp_path, 2.0, location=location), scaling="none")
    assert path.read_bytes() == written
    np.testing.assert_allclose(second.embed(IMAGES)[:, 0], [30, 150, 270])
    assert second.name != first.name
    (tmp_path / location).unlink()
    with pytest.raises(KdistillError, match=rf"keeps weights in the file '{location}' beside it, which is missing"):
        open_teacher(path, scaling="none")


def test_weights_in_an_attribute_count(tmp_path):
    digests = {model_digest(write_onnx(tmp_path, value, where="attribute")) for value in (1.0, 2.0, 2.0)}
    assert len(digests) == 2


@pytest.mark.parametrize("location", ["/etc/hostname", "../outside"])
def test_weights_outside_the_folder_are_not_read(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    path = write_onnx(folder, 1.0)
    content = onnx.load(path, load_external_data=False)
    content.graph.initializer[0].external_data[0].value = location
    path.write_bytes(content.SerializeToString())
    (tmp_path / "outside").write_bytes(bytes(24))
    with pytest.raises(KdistillError, match="outside its folder, which is not opened"):
        open_teacher(path, scaling="none")


def saved_model(folder, value: float):
    class Module(tf.Module):
        def __init__(self):
            self.weights = tf.Variable(tf.fill([3, 2], value))
            asset = folder.parent / "names.txt"
            asset.write_text("names")
            self.asset = tf.saved_model.Asset(str(asset))

        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)])
        def serve(self, image):
            return {"embedding": tf.reduce_mean(image, [1, 2]) @ self.weights}

    module = Module()
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def test_variables_and_assets_of_a_saved_model_count(tmp_path):
    path = saved_model(tmp_path / "saved", 1.0)
    first = open_teacher(path, scaling="none").name
    (path / "assets" / "names.txt").write_text("other")
    second = open_teacher(path, scaling="none").name
    other = saved_model(tmp_path / "other", 2.0)
    shutil.rmtree(path / "variables")
    shutil.copytree(other / "variables", path / "variables")
    changed = open_teacher(path, scaling="none")
    assert len({first, second, changed.name}) == 3
    np.testing.assert_allclose(changed.embed(IMAGES)[:, 0], [30, 150, 270])
    (tmp_path / "kept").mkdir()
    (path / "variables").rename(tmp_path / "kept" / "variables")
    (path / "variables").symlink_to(tmp_path / "kept" / "variables")
    assert open_teacher(path, scaling="none").name == changed.name


def network(activation: str = "relu", *, units: int = 4, prefix: str = "", embedding: int = 0) -> keras.Model:
    named = {"name": f"{prefix}hidden"} if prefix else {}
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    outputs = [
        keras.layers.Dense(2, activation=activation if n == 0 else None, name=name)(
            keras.layers.Dense(units, **named if n == 0 else {})(pooled)
        )
        for n, name in enumerate(("embedding", "other") if embedding == 0 else ("other", "embedding"))
    ]
    model = keras.Model(image, outputs, name="network")
    model.set_weights([np.full(weight.shape, 0.1 * n, np.float32) for n, weight in enumerate(model.get_weights())])
    return model


def test_configuration_and_weights_of_a_model_in_memory_count():
    names = [open_teacher(model).name for model in (network(), network("tanh"), network(embedding=1))]
    changed = network()
    changed.set_weights([weight + 1 for weight in changed.get_weights()])
    assert len({*names, open_teacher(changed).name}) == 4
    # Keras has numbered the layers of each further: the name must not depend on it.
    assert open_teacher(network()).name == names[0] == open_teacher(network(prefix="my_")).name
    assert open_teacher(keras.models.clone_model(network("tanh"))).name != names[1]  # other weights
    assert names[0].startswith("network@")


def test_numbers_in_the_configuration_count():
    def normalising(mean: float) -> keras.Model:
        image = keras.Input((SIZE, SIZE, 3))
        scaled = keras.layers.Normalization(mean=[mean] * 3, variance=[1.0] * 3)(image)
        return keras.Model(image, keras.layers.GlobalAveragePooling2D()(scaled), name="n")

    names = [open_teacher(normalising(mean), scaling="none").name for mean in (1.0, 1.0, 2.0)]
    assert names[0] == names[1] != names[2]


def test_a_keras_file_is_known_by_its_bytes(tmp_path):
    network().save(tmp_path / "m.keras")
    first = open_teacher(tmp_path / "m.keras").name
    network("tanh").save(tmp_path / "m.keras")
    assert open_teacher(tmp_path / "m.keras").name != first


def test_the_ids_of_a_table_count(tmp_path):
    np.save(tmp_path / "t.npy", np.eye(2))
    names = []
    for text in ("a\nb\n", "b\na\n"):
        (tmp_path / "t.txt").write_text(text)
        names.append(open_teacher(tmp_path / "t.npy").name)
    assert names[0] != names[1]


def described(images) -> np.ndarray:
    return np.stack([image.pixels().mean(axis=(0, 1)) for image in images])


def test_a_function_may_say_what_it_asks():
    def ask(images):
        return described(images)

    plain = open_teacher(ask)
    assert (plain.name.rpartition(":")[2], plain.view) == ("test_a_function_may_say_what_it_asks.<locals>.ask", "image")
    ask.name, ask.view = "service-a/model-3", "jpeg-512"
    named = open_teacher(ask)
    assert (named.name, named.view) == ("service-a/model-3", "jpeg-512")
    np.testing.assert_array_equal(named.embed(IMAGES), described(IMAGES))
    ask.name = 3
    with pytest.raises(ArgumentError, match=r"attribute 'name' of the teacher .* is 3, expected a string"):
        open_teacher(ask)
    ask.name, ask.view = "a", " "
    with pytest.raises(ArgumentError, match="attribute 'view'"):
        open_teacher(ask)


def test_a_function_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "beside_the_photos.py").write_text(
        "import beside_it\ndef embed(images):\n    return beside_it.rows(images)\nembed.name = 'here'\n"
    )
    (tmp_path / "beside_it.py").write_text("def rows(images):\n    return [[1.0, 2.0] for _ in images]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = list(sys.path)
    teacher = open_teacher("beside_the_photos:embed")
    assert (teacher.name, teacher.embed(IMAGES).tolist()) == ("here", [[1.0, 2.0]] * 3)
    assert sys.path == before
    for module in ("beside_the_photos", "beside_it"):
        del sys.modules[module]
