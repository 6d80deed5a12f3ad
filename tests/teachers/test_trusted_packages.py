"""`.keras` files made of another package's classes: refused by default, opened where the user trusts the package.

A small package plays one that registers its backbones with Keras, as KerasHub does; tests/clients has the real one.
"""

import dataclasses
import json
import subprocess
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest

from kdistill.data import Image
from kdistill.errors import ArgumentError, KdistillError
from kdistill.settings.groups.teacher import TeacherSettings
from kdistill.stages.opening.models import teacher_of
from kdistill.teachers import open_teacher
from kdistill.teachers.__main__ import main

SIDE = 8
IMAGES = [Image(str(n), array=np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, 3), np.uint8)) for n in range(5)]
UNIT = (np.stack([image.array for image in IMAGES]) / 255).astype(np.float32)
TRUST = {"scaling": "unit", "trust_packages": ["third_hub"]}

BACKBONES = '''
from subprocess import Popen

import keras
import tensorflow as tf


class WithClass(keras.layers.Layer):
    """Not registered: Keras finds it by its module alone."""

    def build(self, shape):
        self.token = self.add_weight(name="token", shape=(1, 1, shape[-1]), initializer="random_normal")

    def call(self, patches):
        tokens = tf.repeat(tf.convert_to_tensor(self.token), tf.shape(patches)[0], axis=0)
        return tf.concat([tokens, patches], 1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] + 1, shape[2])


@keras.utils.register_keras_serializable("third_hub")
class TokenBackbone(keras.Model):
    def __init__(self, side, width, named=False, **others):
        image = keras.Input((side, side, 3), name="images")
        patches = keras.layers.Conv2D(width, 2, 2, name="patches")(image)
        tokens = keras.layers.Reshape((side * side // 4, width))(patches)
        super().__init__(inputs={"images": image} if named else image, outputs=WithClass()(tokens), **others)
        self.side, self.width, self.named = side, width, named

    def get_config(self):
        config = {"side": self.side, "width": self.width, "named": self.named}
        return {"name": self.name, "trainable": self.trainable, **config}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def system(command):
    raise AssertionError(command)
'''


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Imports the package from a folder; its modules and this path go afterwards."""
    folder = tmp_path_factory.mktemp("packages")
    package = folder / "third_hub"
    package.mkdir()
    (package / "__init__.py").write_text("from third_hub import backbones\n")
    (package / "backbones.py").write_text(BACKBONES)
    (package / "broken.py").write_text("raise SystemExit('needs another version')\n")
    sys.path.insert(0, str(folder))
    import third_hub

    yield third_hub.backbones
    sys.path.remove(str(folder))
    forget()


def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "third_hub"]:
        del sys.modules[name]


def changed(path, into, **values):
    """Writes a copy of a `.keras` file whose outermost object is another."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["config.json"] = json.dumps({**json.loads(content["config.json"]), **values}).encode()
    with zipfile.ZipFile(into, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return into


@pytest.fixture(scope="module")
def file(hub, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "backbone.keras"
    hub.TokenBackbone(SIDE, 6).save(path)
    return path


@pytest.mark.parametrize("named", [False, True])
def test_a_backbone_with_tokens_as_a_file_and_in_memory(hub, tmp_path, named):
    model = hub.TokenBackbone(SIDE, 6, named)
    tokens = np.asarray(model({"images": UNIT} if named else UNIT, training=False))
    assert tokens.shape == (5, 17, 6)
    model.save(tmp_path / "backbone.keras")
    for spec in (model, tmp_path / "backbone.keras"):
        for pooling, expected, kind in (
            ("auto", tokens[:, 0], "cls"),
            ("cls", tokens[:, 0], "cls"),
            ("mean", tokens.mean(1), "mean"),
        ):
            teacher = open_teacher(spec, pooling=pooling, **TRUST)
            np.testing.assert_allclose(teacher.embed(IMAGES), expected, atol=1e-5)
            assert teacher.view == f"pillow-bilinear-{SIDE}/unit/{kind}"
    assert teacher.name.startswith("backbone.keras@")
    # Its own layers say nothing of a scale.
    with pytest.raises(ArgumentError, match="does not say on which scale"):
        open_teacher(model)


def test_inside_of_another_model(hub, tmp_path):
    import keras

    image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    tokens = hub.TokenBackbone(SIDE, 6)(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(tokens)))
    model.save(tmp_path / "whole.keras")
    expected = np.asarray(model(np.stack([image.array for image in IMAGES]), training=False))
    answers = open_teacher(tmp_path / "whole.keras", trust_packages=("third_hub",)).embed(IMAGES)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    with pytest.raises(KdistillError, match=r"third_hub.backbones', which is not imported"):
        open_teacher(tmp_path / "whole.keras")


def test_by_default_nothing_is_imported_and_the_flag_is_named(file):
    forget()
    for trusted in ((), ("keras_hub",), ("third",)):
        with pytest.raises(KdistillError, match=r"module 'third_hub.backbones', which .* --trust_packages=third_hub"):
            open_teacher(file, scaling="unit", trust_packages=trusted)
    assert "third_hub" not in sys.modules
    open_teacher(file, **TRUST)
    assert "third_hub" in sys.modules


def test_the_flag_reaches_runs_and_trials(file, tmp_path, capsys):
    settings = TeacherSettings(teacher=str(file), teacher_scaling="unit")
    with pytest.raises(KdistillError, match="--trust_packages=third_hub"):
        teacher_of(settings, 0, tmp_path)
    trusting = dataclasses.replace(settings, trust_packages=("third_hub",))
    assert teacher_of(trusting, 0, tmp_path).embed(IMAGES).shape == (5, 6)
    photo = tmp_path / "photo.png"
    PIL.Image.fromarray(IMAGES[0].pixels()).save(photo)
    arguments = ["try", str(file), str(photo), "--teacher_scaling=unit"]
    assert main(arguments) != 0
    assert "--trust_packages=third_hub" in capsys.readouterr().err
    assert main([*arguments, "--trust_packages=third_hub"]) == 0
    assert "dimension 6" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["os", "subprocess", "builtins", "..os", "third_hub", "third_hub.../x"])
def test_what_is_no_package_of_models_is_never_proposed(file, tmp_path, module):
    path = changed(file, tmp_path / "other.keras", module=module, class_name="system")
    with pytest.raises(KdistillError) as caught:
        open_teacher(path, scaling="unit", trust_packages=() if module == "third_hub" else ["third_hub"])
    assert "which is not imported" in str(caught.value)
    assert ("--trust_packages=third_hub" in str(caught.value)) == (module == "third_hub")


@pytest.mark.parametrize("name", ["os", "subprocess", "keras", "tensorflow", "", "third_hub.backbones", "a b", "-x"])
def test_what_cannot_be_trusted(file, name):
    with pytest.raises(ArgumentError, match="cannot be trusted: --trust_packages takes the names of packages"):
        open_teacher(file, scaling="unit", trust_packages=[name])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Popen", "'Popen' of third_hub.backbones, which is no class of models or layers there"),
        ("system", "'system' of third_hub.backbones, which is no class"),
        ("keras", "'keras' of third_hub.backbones, which is no class"),
        ("Nothing", "'Nothing' of third_hub.backbones, which is no class"),
        (["TokenBackbone"], "which is no class"),
        ("Lambda", "contains a Lambda of its own code"),
        ("function", "contains a function of its own code"),
    ],
)
def test_trust_is_in_the_packages_own_classes(hub, file, tmp_path, monkeypatch, name, words):
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *_, **__: pytest.fail("a process was started"))
    path = changed(file, tmp_path / "other.keras", class_name=name)
    with pytest.raises(KdistillError, match=words):
        open_teacher(path, **TRUST)


def test_packages_and_modules_that_cannot_be_imported(file, tmp_path, monkeypatch):
    path = changed(file, tmp_path / "a.keras", module="no_such_hub.models")
    with pytest.raises(KdistillError, match=r"no_such_hub.models, which cannot be imported \(no_such_hub is not inst"):
        open_teacher(path, scaling="unit", trust_packages=["no_such_hub"])
    path = changed(file, tmp_path / "b.keras", module="third_hub.of_later")
    with pytest.raises(KdistillError, match=r"cannot be imported \(No module named 'third_hub.of_later'\)$"):
        open_teacher(path, **TRUST)
    path = changed(file, tmp_path / "c.keras", module="third_hub.broken")
    with pytest.raises(KdistillError, match=r"cannot be imported \(needs another version\)$"):
        open_teacher(path, **TRUST)
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    path = changed(file, tmp_path / "d.keras", module="keras_hub.src.models.vit")
    with pytest.raises(KdistillError, match=r"pip install 'kdistill\[kerashub\]'$"):
        open_teacher(path, scaling="unit", trust_packages=["keras_hub"])
