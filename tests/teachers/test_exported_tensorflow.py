"""SavedModels and TFLite files in the signatures that hubs and converters write, against numpy."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kdistill.data import Image
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import open_teacher

pytestmark = [pytest.mark.long, pytest.mark.both_stacks]

SIDE = 6
WEIGHTS = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)
IMAGES = [Image(str(n), array=np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, 3), np.uint8)) for n in range(11)]
PIXELS = np.stack([image.array for image in IMAGES])
UNIT = PIXELS / 255.0
EXPECTED = UNIT.mean((1, 2)) @ WEIGHTS
OTHER = np.random.default_rng(5).integers(0, 256, (9, 13, 3), np.uint8)
"""A photo of another shape, which is no square."""


def spec(shape, dtype=tf.float32, name="image"):
    return tf.TensorSpec(shape, dtype, name=name)


def saved(folder, **signatures):
    """Writes a SavedModel; each signature is (function, input specs)."""
    module = tf.Module()
    calls = {key: tf.function(call, input_signature=specs) for key, (call, specs) in signatures.items()}
    module.calls = list(calls.values())
    tf.saved_model.save(module, str(folder), signatures=calls)
    return folder


def embedded(image):
    return tf.reduce_mean(tf.cast(image, tf.float32), [1, 2]) @ tf.constant(WEIGHTS)


def decoded(files):
    images = tf.map_fn(
        lambda one: tf.image.decode_image(one, channels=3, expand_animations=False),
        files,
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
    )
    return embedded(tf.cast(images, tf.float32) / 255.0)


def turned(pixel_values):
    return tf.transpose(pixel_values, [0, 2, 3, 1])


def patches(image):
    """Tokens [n, 9, 3]: means of patches of 2 x 2."""
    return tf.reshape(tf.nn.avg_pool2d(image, 2, 2, "VALID"), [tf.shape(image)[0], 9, 3])


OPEN = [None, None, None, 3]
# Name -> (signatures, arguments of open_teacher, expected answers, view)
SAVED = {
    "hub": (
        {"serving_default": (lambda image: {"default": embedded(image)}, [spec([None, SIDE, SIDE, 3])])},
        {},
        EXPECTED,
        f"pillow-bilinear-{SIDE}/unit",
    ),
    "open size": (
        {"serving_default": (lambda image: {"embedding": embedded(image)}, [spec(OPEN)])},
        {"image_size": SIDE},
        EXPECTED,
        f"pillow-bilinear-{SIDE}/unit",
    ),
    "all axes open, colours first": (
        {
            "serving_default": (
                lambda pixel_values: {
                    "last_hidden_state": patches(turned(pixel_values)),
                    "pooler_output": embedded(turned(pixel_values)),
                },
                [spec([None] * 4, name="pixel_values")],
            )
        },
        {"image_size": SIDE},
        EXPECTED,
        f"pillow-bilinear-{SIDE}/unit/pooler_output",
    ),
    "tokens without a class token": (
        {"serving_default": (lambda image: {"last_hidden_state": patches(image)}, [spec([None, SIDE, SIDE, 3])])},
        {},
        UNIT.mean((1, 2)),
        f"pillow-bilinear-{SIDE}/unit/mean",
    ),
    "feature map": (
        {
            "serving_default": (
                lambda image: {"map": tf.nn.avg_pool2d(image, 2, 2, "VALID")},
                [spec([None, SIDE, SIDE, 3])],
            )
        },
        {"pooling": "mean"},
        UNIT.mean((1, 2)),
        f"pillow-bilinear-{SIDE}/unit/mean",
    ),
    "another signature alone": (
        {"image_features": (lambda image: {"vector": embedded(image)}, [spec([None, SIDE, SIDE, 3])])},
        {},
        EXPECTED,
        f"pillow-bilinear-{SIDE}/unit",
    ),
    "another signature by name": (
        {
            "classify": (lambda image: {"logits": embedded(image) * 2}, [spec([None, SIDE, SIDE, 3])]),
            "features": (
                lambda image: {"vector": embedded(image), "logits": embedded(image) * 3},
                [spec([None, SIDE, SIDE, 3])],
            ),
        },
        {"output": "features:vector"},
        EXPECTED,
        f"pillow-bilinear-{SIDE}/unit/features:vector",
    ),
    "another signature by its output": (
        {
            "serving_default": (lambda image: {"logits": embedded(image) * 2}, [spec([None, SIDE, SIDE, 3])]),
            "features": (lambda image: {"vector": embedded(image)}, [spec([None, SIDE, SIDE, 3])]),
        },
        {"output": "vector"},
        EXPECTED,
        f"pillow-bilinear-{SIDE}/unit/features:vector",
    ),
    "whole CLIP": (
        {
            "serving_default": (
                lambda attention_mask, input_ids, pixel_values: {
                    "image_embeds": embedded(turned(pixel_values)),
                    "logits_per_image": embedded(turned(pixel_values))
                    @ tf.transpose(tf.cast(input_ids * attention_mask, tf.float32)[:, :5]),
                },
                [
                    spec([None, None], tf.int32, "attention_mask"),
                    spec([None, None], tf.int32, "input_ids"),
                    spec([None, 3, SIDE, SIDE], name="pixel_values"),
                ],
            )
        },
        {},
        EXPECTED,
        f"pillow-bilinear-{SIDE}/unit/image_embeds",
    ),
    "encoded": (
        {"serving_default": (lambda files: {"embedding": decoded(files)}, [spec([None], tf.string, "files")])},
        {"scaling": "auto"},
        EXPECTED,
        "png",
    ),
    "encoded, one at a time": (
        {"serving_default": (lambda files: {"embedding": decoded(files)}, [spec([1], tf.string, "files")])},
        {"scaling": "none"},
        EXPECTED,
        "png",
    ),
    "encoded, three at a time": (
        {"serving_default": (lambda files: {"embedding": decoded(files)}, [spec([3], tf.string, "files")])},
        {"scaling": "none"},
        EXPECTED,
        "png",
    ),
}


@pytest.mark.parametrize("name", SAVED)
def test_saved_models(tmp_path, name):
    signatures, arguments, expected, view = SAVED[name]
    teacher = open_teacher(saved(tmp_path / "in" / "saved", **signatures), **{"scaling": "unit", **arguments})
    np.testing.assert_allclose(teacher.embed(IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert teacher.view == view
    assert open_teacher(tmp_path / "in", **{"scaling": "unit", **arguments}).name == teacher.name


def test_a_configuration_beside_a_saved_model(tmp_path):
    signature = (lambda image: {"embedding": embedded(image)}, [spec(OPEN)])
    folder = saved(tmp_path / "in" / "saved", serving_default=signature)
    config = {"size": SIDE, "do_rescale": True, "image_mean": 0.5, "image_std": 0.25}
    (tmp_path / "in" / "preprocessor_config.json").write_text(json.dumps(config))
    np.testing.assert_allclose(
        open_teacher(folder).embed(IMAGES), ((UNIT - 0.5) / 0.25).mean((1, 2)) @ WEIGHTS, rtol=1e-3, atol=1e-5
    )
    assert open_teacher(folder, scaling="unit").view == f"pillow-bilinear-{SIDE}/unit"  # the side is read all the same
    with pytest.raises(ArgumentError, match=r"makes images of side 6, so --teacher_image_size=8 does not fit"):
        open_teacher(folder, image_size=8)


def test_encoded_photos_keep_their_shape(tmp_path):
    signature = (lambda files: {"embedding": decoded(files)}, [spec([None], tf.string, "files")])
    folder = saved(tmp_path / "saved", serving_default=signature)
    teacher = open_teacher(folder)
    expected = (OTHER / 255.0).mean((0, 1)) @ WEIGHTS
    np.testing.assert_allclose(teacher.embed([Image("x", array=OTHER)])[0], expected, rtol=1e-4)
    with pytest.raises(
        ArgumentError, match="takes encoded photos and scales them itself, so --teacher_scaling must be"
    ):
        open_teacher(folder, scaling="unit")
    with pytest.raises(ArgumentError, match="takes encoded photos of any size, so --teacher_image_size=8 does not fit"):
        open_teacher(folder, image_size=8)


def test_signatures_that_are_not_known(tmp_path):
    one = (lambda image: {"a": embedded(image), "b": embedded(image)}, [spec([None, SIDE, SIDE, 3])])
    folder = saved(tmp_path / "two", first=one, second=one)
    with pytest.raises(KdistillError, match=r"signatures are first, second; name one with --teacher_output=SIGNATURE:"):
        open_teacher(folder, scaling="unit")
    for output in ("second:a", "first:b"):
        assert open_teacher(folder, scaling="unit", output=output).view.endswith("/" + output)
    for output in ("first:", "second"):
        with pytest.raises(KdistillError, match=r"2 outputs \(a, b\) .* --teacher_output"):
            open_teacher(folder, scaling="unit", output=output)
    with pytest.raises(ArgumentError, match=r"no output 'c' .* its outputs are a, b"):
        open_teacher(folder, scaling="unit", output="first:c")
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(KdistillError, match="it has no signature serving_default, it has no signature;"):
        open_teacher(tmp_path / "none", scaling="unit")


def tflite(path, **signatures):
    folder = saved(path.with_suffix(""), **signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=list(signatures))
    path.write_bytes(converter.convert())
    return path


def several(image):
    return {"logits": embedded(image) * 2, "image_embeds": embedded(image), "last_hidden_state": patches(image)}


@pytest.mark.parametrize("batch", [1, None])
def test_tflite_outputs_by_the_names_of_the_signature(tmp_path, batch):
    path = tflite(tmp_path / "m.tflite", serving_default=(several, [spec([batch, SIDE, SIDE, 3])]))
    for output, expected, chosen in [
        (None, EXPECTED, "image_embeds"),
        ("logits", EXPECTED * 2, "logits"),
        ("last_hidden_state", UNIT.mean((1, 2)), "last_hidden_state/mean"),
    ]:
        teacher = open_teacher(path, scaling="unit", output=output)
        np.testing.assert_allclose(teacher.embed(IMAGES), expected, rtol=1e-4, atol=1e-5)
        assert teacher.view == f"pillow-bilinear-{SIDE}/unit/{chosen}"
    with pytest.raises(ArgumentError, match=r"no output 'embeds' .* its outputs are .*logits"):
        open_teacher(path, scaling="unit", output="embeds")


def test_tflite_of_open_size_and_with_further_inputs(tmp_path):
    path = tflite(tmp_path / "open.tflite", serving_default=(lambda image: {"v": embedded(image)}, [spec(OPEN)]))
    np.testing.assert_allclose(
        open_teacher(path, scaling="unit", image_size=SIDE).embed(IMAGES), EXPECTED, rtol=1e-4, atol=1e-5
    )

    def both(image, input_ids, mask):
        words = tf.reduce_sum(tf.cast(input_ids * mask, tf.float32), 1, keepdims=True)
        return {"image_embeds": embedded(image) + words, "text_embeds": words}

    specs = [spec([1, SIDE, SIDE, 3]), spec([1, 7], tf.int32, "input_ids"), spec([1, 7], tf.int32, "mask")]
    path = tflite(tmp_path / "both.tflite", serving_default=(both, specs))
    np.testing.assert_allclose(open_teacher(path, scaling="unit").embed(IMAGES), EXPECTED, rtol=1e-4, atol=1e-5)


def test_tflite_signature_by_name(tmp_path):
    shape = [spec([1, SIDE, SIDE, 3])]
    path = tflite(
        tmp_path / "m.tflite",
        first=(lambda image: {"a": embedded(image)}, shape),
        second=(lambda image: {"a": embedded(image) * 2}, shape),
    )
    for output, factor in (("first:a", 1), ("second:", 2)):
        teacher = open_teacher(path, scaling="unit", output=output)
        np.testing.assert_allclose(teacher.embed(IMAGES), EXPECTED * factor, rtol=1e-4, atol=1e-5)
