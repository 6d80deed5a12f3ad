"""Networks that users bring: opened as they are, scaled as they say or as is said of them, refused in a sentence."""

import sys

import keras
import numpy as np
import pytest

from kdistill import students
from kdistill.errors import ArgumentError, KdistillError
from kdistill.facts.brought import SCALINGS
from kdistill.runtimes.keras_models.keras_files import load_keras_file
from kdistill.stages.backbone import backbone_digest, named_backbone

SIZE = 21
PIXELS = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)

MODULE = """
import keras

def _ending(size, finish):
    image = keras.Input((size, size, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    map = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(scaled)
    return keras.Model(image, finish(map))

def network(size): return _ending(size, lambda map: map)
def tokens(size): return _ending(size, keras.layers.Reshape((-1, 5)))
def vector(size): return _ending(size, keras.layers.GlobalMaxPooling2D())
def head(size): return _ending(size, lambda map: keras.layers.Dense(4, activation="softmax")(vector_of(map)))
def spaced(size): return _ending(size, keras.layers.ReLU(name="relu (1)"))
def volume(size): return _ending(size, keras.layers.Reshape((11, 11, 5, 1)))
def two(size):
    made = network(size)
    return keras.Model(made.input, [made.output, made.output])
def other_size(size): return network(size + 1)
def rectangle(size):
    image = keras.Input((size, size + 8, 3))
    return keras.Model(image, keras.layers.Conv2D(5, 3)(keras.layers.Rescaling(1 / 255)(image)))
def first_colours(size):
    image = keras.Input((3, size, size))
    return keras.Model(image, keras.layers.Flatten()(image))
def nothing(size): return None
def raises(size): raise RuntimeError("no weights today")
def without_size(): return None

vector_of = keras.layers.GlobalMaxPooling2D()

@keras.saving.register_keras_serializable("own")
class Own(keras.layers.Layer):
    def call(self, inputs): return inputs

def own(size): return _ending(size, lambda map: Own()(map))

class Subclassed(keras.Model):
    def call(self, inputs): return inputs

def subclassed(size): return Subclassed()
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module `own_networks` in the current folder."""
    (tmp_path / "own_networks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "own_networks.py"
    sys.modules.pop("own_networks", None)


def _network(*before: keras.layers.Layer, size: int | None = SIZE) -> keras.Model:
    keras.utils.set_random_seed(5)
    image = keras.Input((size, size, 3))
    inside = image
    for layer in before:
        inside = layer(inside)
    return keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", bias_initializer="normal")(inside))


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _features(network: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return _unit(network.predict(pixels, verbose=0).mean((1, 2)))


@pytest.mark.both_stacks
@pytest.mark.parametrize("own", [SIZE, 32, None])
def test_a_file_that_scales_itself_is_taken_at_any_size(own, tmp_path):
    network = _network(keras.layers.Rescaling(1 / 127.5, offset=-1.0), size=own)
    network.save(tmp_path / "net.keras")
    student = students.build(str(tmp_path / "net.keras"), image_size=SIZE, embedding_dim=None)
    whole = _network(keras.layers.Rescaling(1 / 127.5, offset=-1.0), size=None)
    whole.set_weights(network.get_weights())
    expected = _features(whole, PIXELS.astype(np.float32))
    np.testing.assert_allclose(student.predict(PIXELS, verbose=0), expected, atol=1e-5)
    student.save(tmp_path / "student.keras")
    alone = students.in_float32(students.at_batch(load_keras_file(tmp_path / "student.keras"), 1))
    np.testing.assert_allclose(alone.predict(PIXELS[:1], batch_size=1, verbose=0), expected[:1], atol=1e-5)


def _by_hand(scaling: str, pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float64)
    if scaling == "caffe":
        return values[..., ::-1] - [103.939, 116.779, 123.68]
    statistics = {
        "torch": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
    }
    if scaling in statistics:
        mean, deviation = statistics[scaling]
        return (values / 255 - mean) / deviation
    return {"none": values, "unit": values / 255, "symmetric": values / 127.5 - 1}[scaling]


@pytest.mark.parametrize("scaling", SCALINGS[1:])
def test_pixels_come_on_the_scale_that_was_said(scaling, tmp_path):
    network = _network()
    network.save(tmp_path / "net.keras")
    student = students.build(str(tmp_path / "net.keras"), image_size=SIZE, embedding_dim=None, scaling=scaling)
    expected = _features(network, _by_hand(scaling, PIXELS).astype(np.float32))
    np.testing.assert_allclose(student.predict(PIXELS, verbose=0), expected, atol=1e-4)


def test_a_scale_is_asked_for_and_none_is_put_on_twice(tmp_path):
    _network().save(tmp_path / "net.keras")
    with pytest.raises(
        ArgumentError, match=r"net\.keras does not say on which scale .* --backbone_scaling: none, unit"
    ):
        students.build(str(tmp_path / "net.keras"), image_size=SIZE)
    _network(keras.layers.Rescaling(1 / 255)).save(tmp_path / "own.keras")
    with pytest.raises(ArgumentError, match=r"--backbone_scaling=unit: .*own\.keras takes pixels from 0 to 255"):
        students.build(str(tmp_path / "own.keras"), image_size=SIZE, scaling="unit")
    with pytest.raises(ArgumentError, match="scaling 'imagenet' is unknown"):
        students.build(str(tmp_path / "own.keras"), image_size=SIZE, scaling="imagenet")
    turned = _network(keras.layers.MaxPooling2D())
    turned.save(tmp_path / "turned.keras")
    with pytest.raises(KdistillError, match="blue first"):
        students.build(str(tmp_path / "turned.keras"), image_size=SIZE, scaling="caffe")


@pytest.mark.both_stacks
def test_what_a_function_returns_is_pooled_as_its_output_is(own_module):
    pixels = PIXELS.astype(np.float32)
    for name, pooling, pooled in (
        ("network", "avg", lambda output: output.mean((1, 2))),
        ("tokens", "avg", lambda output: output.mean(1)),
        ("tokens", "cls", lambda output: output[:, 0]),
        ("vector", "avg", lambda output: output),
    ):
        student = students.build(f"own_networks:{name}", image_size=SIZE, embedding_dim=None, pooling=pooling)
        inner = student.get_layer("backbone")
        expected = _unit(pooled(inner.predict(pixels, verbose=0)))
        np.testing.assert_allclose(student.predict(PIXELS, verbose=0), expected, atol=1e-5)
        assert students.pooled_features(student).output_shape == (None, 5)
    generalised = students.build("own_networks:network", image_size=SIZE, embedding_dim=8, pooling="gem")
    assert students.embedding_dim(generalised) == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("head", "ends in a softmax over classes"),
        ("spaced", r"has a layer 'relu \(1\)'|is not a valid root scope name"),  # Keras 2 says so itself
        ("volume", "a vector .*, tokens .* or a map .* is expected"),
        ("two", "has 1 inputs and 2 outputs"),
        ("other_size", f"takes images of {SIZE + 1} pixels a side, not of --image_size={SIZE}"),
        ("rectangle", f"takes images {SIZE} pixels high and {SIZE + 8} wide; a student takes squares"),
        ("first_colours", "RGB images .* are expected"),
        ("nothing", "returns a NoneType; a Keras model is expected"),
        ("raises", f"called with {SIZE}: .*no weights today"),
        ("without_size", "takes 0 positional arguments"),
        ("own", "needs code of the module 'own_networks'.* --trust_packages=own_networks"),
        ("subclassed", "cannot be saved|0 inputs"),
        ("missing", "cannot be imported"),
    ],
)
def test_what_cannot_be_a_student_is_refused_in_a_sentence(name, message, own_module):
    with pytest.raises(KdistillError, match=message) as caught:
        students.build(f"own_networks:{name}", image_size=SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "pooling"), [("network", "cls"), ("tokens", "gem"), ("vector", "gem")])
def test_a_pooling_that_does_not_suit_the_output(name, pooling, own_module):
    with pytest.raises(ArgumentError, match=f"pooling '{pooling}' does not suit own_networks:{name}: it gives"):
        students.build(f"own_networks:{name}", image_size=SIZE, pooling=pooling)


def test_layers_of_a_trusted_package_come_back(own_module, tmp_path):
    student = students.build("own_networks:own", image_size=SIZE, embedding_dim=4, trusted=("own_networks",))
    student.save(tmp_path / "student.keras")
    with pytest.raises(KdistillError, match="--trust_packages=own_networks"):
        load_keras_file(tmp_path / "student.keras")
    again = load_keras_file(tmp_path / "student.keras", ("own_networks",))
    np.testing.assert_array_equal(again.predict(PIXELS, verbose=0), student.predict(PIXELS, verbose=0))


def test_a_student_starts_as_another_one_of_the_same_network(own_module, tmp_path):
    first, other = (students.build("own_networks:network", image_size=SIZE, embedding_dim=4) for _ in range(2))
    assert not np.array_equal(first.predict(PIXELS, verbose=0), other.predict(PIXELS, verbose=0))
    first.save(tmp_path / "student.keras")
    again = students.build(
        "own_networks:network", image_size=SIZE, embedding_dim=4, weights=str(tmp_path / "student.keras")
    )
    np.testing.assert_array_equal(again.predict(PIXELS, verbose=0), first.predict(PIXELS, verbose=0))


def test_content_tells_a_network_from_another_of_its_name(own_module, tmp_path):
    assert backbone_digest("small_cnn") == ""
    before = backbone_digest("own_networks:network")
    own_module.write_text(MODULE.replace("strides=2", "strides=4"))
    assert "" != before != backbone_digest("own_networks:network")
    assert "own_networks" not in sys.modules  # nothing of it was run
    file = tmp_path / "net.keras"
    _network().save(file)
    first = backbone_digest(str(file))
    _network(keras.layers.Rescaling(1 / 255)).save(file)
    assert "" != first != backbone_digest(str(file))
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "config.json").write_text("{}")
    preset = f"kerashub:{tmp_path / 'preset'}"
    empty = backbone_digest(preset)
    (tmp_path / "preset" / "model.weights.h5").write_bytes(b"weights")
    assert empty != backbone_digest(preset)
    assert [named_backbone(name) for name in (str(file), preset, "m:f")] == ["net.keras", "KerasHub, preset", "m:f"]


def test_a_package_in_folders_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets" / "small").mkdir(parents=True)
    for file in ("nets/__init__.py", "nets/small/__init__.py", "nets/small/made.py"):
        (tmp_path / file).write_text(f"# {file}\nraise RuntimeError\n")
    digests = {backbone_digest(name) for name in ("nets:f", "nets.small:f", "nets.small.made:f")}
    assert len(digests - {""}) == 3
    assert backbone_digest("json.decoder:f") != backbone_digest("json:f") != ""
    assert backbone_digest("colorsys:f") != ""
    assert backbone_digest("nowhere_to_be_found:f") == ""
