"""All 23 signatures in which image encoders are published, with their names and axes, open and answer.

In the order of the exporters: optimum before and since February 2026, whole CLIP and SigLIP, timm and torchvision,
weights outside the file, half precision, hubs' SavedModels, TFLite. `test_exported_encoders.py` and
`test_exported_tensorflow.py` have further ones.
"""

import json

import numpy as np
import pytest
from encoder_files import PROJECT, SYMBOLIC, tokens, write_encoder

from kdistill.data import Image
from kdistill.teachers import open_teacher

SIDE, STRIDE = 224, 32
IMAGES = [Image(str(n), array=np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, 3), np.uint8)) for n in range(3)]
UNIT = np.stack([image.array for image in IMAGES]) / 255.0
CONFIG = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": SIDE, "width": SIDE},
    "do_normalize": True,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.25],
}
NORMALISED = (UNIT - CONFIG["image_mean"]) / CONFIG["image_std"]

VECTOR, POOLED, HIDDEN = ["batch_size", 5], ["batch_size", 6], ["batch_size", "sequence_length", 6]
EMBEDS, POOLER, TOKENS = {"image_embeds": VECTOR}, {"pooler_output": POOLED}, {"last_hidden_state": HIDDEN}
SINCE = {"axes": ("batch_size", 3, "height", "width")}
ONE = {"axes": (1, 3, SIDE, SIDE), "name": "input"}
ANY = {"axes": ("batch", 3, SIDE, SIDE), "name": "input"}
SIZES = {"axes": ("batch", 3, "height", "width"), "name": "input"}
WHOLE = {
    "logits_per_image": ["image_batch_size", "text_batch_size"],
    "logits_per_text": ["text_batch_size", "image_batch_size"],
    "text_embeds": ["text_batch_size", 5],
    "image_embeds": ["image_batch_size", 5],
}

# Name -> (outputs, further arguments of write_encoder, which of ANSWERS)
ONNX = {
    "optimum: image_embeds": (EMBEDS, {}, "projected"),
    "optimum: image_embeds, last_hidden_state": (EMBEDS | TOKENS, {}, "projected"),
    "optimum: image_embeds, pooler_output, last_hidden_state": (EMBEDS | POOLER | TOKENS, {}, "projected"),
    "optimum: pooler_output": (POOLER, {}, "first"),
    "optimum: last_hidden_state, pooler_output, no class token": (TOKENS | POOLER, {"class_token": False}, "patch"),
    "optimum: last_hidden_state": (TOKENS, {}, "first"),
    "optimum since 2026: last_hidden_state, pooler_output": (TOKENS | POOLER, SINCE, "first"),
    "optimum since 2026: last_hidden_state": (TOKENS, SINCE, "first"),
    "optimum: whole CLIP": (WHOLE, {"text": True}, "projected"),
    "timm: one image, a vector": ({"output": [1, 5]}, ONE, "projected"),
    "timm: any batch, a vector": ({"output": ["batch", 5]}, ANY, "projected"),
    "timm: any size, a vector": ({"output": ["batch", 5]}, SIZES, "projected"),
    "timm: one image, a map": ({"feature_map": [1, 6, 7, 7]}, ONE, "map"),
    "timm: any batch, a map": ({"feature_map": ["batch", 6, 7, 7]}, ANY, "map"),
    "timm: any size, a map": ({"feature_map": ["batch", 6, "h", "w"]}, SIZES, "map"),
    "weights outside the file": (EMBEDS | TOKENS, {"outside": True}, "projected"),
    "half floats": (EMBEDS | TOKENS, {"half": "all"}, "projected"),
    "half floats inside": (EMBEDS | TOKENS, {"half": "weights"}, "projected"),
}
ANSWERS = {
    "projected": lambda pixels: tokens(pixels, stride=STRIDE)[:, 0] @ PROJECT.astype(np.float64),
    "first": lambda pixels: tokens(pixels, stride=STRIDE)[:, 0],
    "patch": lambda pixels: tokens(pixels, stride=STRIDE, class_token=False)[:, 0],
    "map": lambda pixels: np.arctanh(tokens(pixels, stride=STRIDE, class_token=False)).mean(1),
}

FIXED, OPEN = [None, SIDE, SIDE, 3], [None, None, None, 3]
# Name -> (axes of the image, None for encoded ones; names of outputs)
TENSORFLOW = {
    "SavedModel: fixed size, a vector": (FIXED, ("default",)),
    "SavedModel: fixed size, a dictionary": (FIXED, ("embedding", "logits")),
    "SavedModel: any size": (OPEN, ("default",)),
    "SavedModel: encoded bytes": (None, ("default",)),
    "TFLite: several outputs": ([1, *FIXED[1:]], ("image_embeds", "logits")),
}
WEIGHTS = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)


def test_they_are_23():
    assert len(ONNX) + len(TENSORFLOW) == 23
    assert all(options.get("axes", SYMBOLIC)[0] in (1, "batch", "batch_size") for _, options, _ in ONNX.values())


@pytest.mark.parametrize("name", ONNX)
def test_an_encoder_as_it_is_downloaded(tmp_path, name):
    outputs, options, answer = ONNX[name]
    write_encoder(tmp_path / "down" / "onnx" / "model.onnx", outputs, stride=STRIDE, **options)
    assert (tmp_path / "down" / "onnx" / "model.onnx_data").exists() == ("outside" in options)
    (tmp_path / "down" / "preprocessor_config.json").write_text(json.dumps(CONFIG))
    answers = open_teacher(tmp_path / "down").embed(IMAGES)
    expected = ANSWERS[answer](NORMALISED)
    assert np.ptp(expected, axis=0).max() > 0.03 * np.abs(expected).max()  # photos differ
    np.testing.assert_allclose(answers, expected, atol=(2e-2 if "half" in options else 1e-4) * np.abs(expected).max())


@pytest.mark.long
@pytest.mark.both_stacks
@pytest.mark.parametrize("name", TENSORFLOW)
def test_a_file_of_tensorflow(tmp_path, name):
    import tensorflow as tf

    axes, outputs = TENSORFLOW[name]

    def of_pixels(image):
        vector = tf.reduce_mean(image, [1, 2]) @ tf.constant(WEIGHTS)
        return {output: vector * (place + 1) for place, output in enumerate(outputs)}

    def of_files(files):
        spec = tf.TensorSpec([None, None, 3], tf.uint8)
        images = tf.map_fn(
            lambda one: tf.image.decode_image(one, channels=3, expand_animations=False), files, fn_output_signature=spec
        )
        return of_pixels(tf.cast(images, tf.float32) / 255.0)

    spec = tf.TensorSpec([None], tf.string) if axes is None else tf.TensorSpec(axes)
    module = tf.Module()
    module.call = tf.function(of_files if axes is None else of_pixels, input_signature=[spec])
    path = tmp_path / "saved"
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.call})
    if name.startswith("TFLite"):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(path), signature_keys=["serving_default"])
        path = tmp_path / "model.tflite"
        path.write_bytes(converter.convert())
    options = {} if axes is None else {"scaling": "unit", "image_size": SIDE}
    answers = open_teacher(path, **options).embed(IMAGES)
    np.testing.assert_allclose(answers, UNIT.mean((1, 2)) @ WEIGHTS, rtol=1e-4, atol=1e-5)
