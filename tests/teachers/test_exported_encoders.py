"""Encoders in the signatures that exporters write open by their path alone and answer what numpy computes."""

import json

import numpy as np
import pytest
from encoder_files import PROJECT, SYMBOLIC, tokens, write_encoder

from kdistill.data import Image
from kdistill.errors import ArgumentError, KdistillError
from kdistill.teachers import open_teacher

SIDE = 8
HIDDEN = ["batch_size", "sequence_length", 6]
VECTOR = ["batch_size", 5]
POOLED = ["batch_size", 6]
IMAGES = [
    Image(str(n), array=np.random.default_rng(n).integers(0, 256, shape, np.uint8))
    for n, shape in enumerate([(SIDE, SIDE, 3)] * 9)
]
PIXELS = np.stack([image.array for image in IMAGES])
UNIT = PIXELS / 255.0
FIRST = tokens(UNIT)[:, 0]

CONFIG = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "do_normalize": True,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.25],
}
NORMALISED = (UNIT - CONFIG["image_mean"]) / CONFIG["image_std"]
COMPUTED = {
    "cls": lambda pixels: tokens(pixels)[:, 0],
    "mean": lambda pixels: tokens(pixels).mean(1),
    "mean of patches": lambda pixels: tokens(pixels, class_token=False).mean(1),
    "projected": lambda pixels: tokens(pixels)[:, 0] @ PROJECT.astype(np.float64),
    "map": lambda pixels: np.arctanh(tokens(pixels, class_token=False)).mean(1),
    "patch projected": lambda pixels: tokens(pixels, class_token=False)[:, 0] @ PROJECT.astype(np.float64),
}

# Name -> (outputs, further arguments of write_encoder, what it answers, what the view tells of the choice).
ALL = {"last_hidden_state": HIDDEN, "pooler_output": POOLED}
CLIP = {
    "logits_per_image": ["image_batch_size", "text_batch_size"],
    "logits_per_text": ["text_batch_size", "image_batch_size"],
    "text_embeds": ["text_batch_size", 5],
    "image_embeds": ["image_batch_size", 5],
}
MAP = ["batch", 6, 2, 2]
SIGNATURES = {
    "CLIP vision": ({"image_embeds": VECTOR, "last_hidden_state": HIDDEN}, {}, "projected", "/image_embeds"),
    "CLIP vision with pooler": ({"image_embeds": VECTOR, **ALL}, {}, "projected", "/image_embeds"),
    "CLIP vision, hidden first": (
        {"last_hidden_state": HIDDEN, "image_embeds": VECTOR},
        {},
        "projected",
        "/image_embeds",
    ),
    "SigLIP vision": (ALL, {"class_token": False}, None, "/pooler_output"),
    "SigLIP tokens": ({"last_hidden_state": HIDDEN}, {"class_token": False}, "mean of patches", "/mean"),
    "ViT": (ALL, {"axes": ("batch_size", 3, "height", "width")}, "cls", "/pooler_output"),
    "DINOv2 tokens": ({"last_hidden_state": HIDDEN}, {"axes": ("batch_size", 3, "height", "width")}, "cls", "/cls"),
    "tokens of no declared length": ({"last_hidden_state": ["b", "t", "d"]}, {}, "cls", "/cls"),
    "masked": (ALL, {"hidden": True}, "cls", "/pooler_output"),
    "whole CLIP": (CLIP, {"text": True}, "projected", "/image_embeds"),
    "whole CLIP, half": (CLIP, {"text": True, "half": "all"}, "projected", "/image_embeds"),
    "timm, batch 1": ({"output": [1, 5]}, {"axes": (1, 3, SIDE, SIDE), "name": "input"}, "projected", ""),
    "timm, open batch": (
        {"output": ["batch", 5]},
        {"axes": ("batch", 3, SIDE, SIDE), "name": "input"},
        "projected",
        "",
    ),
    "timm, open size": (
        {"output": ["batch", 5]},
        {"axes": ("batch", 3, "height", "width"), "name": "input"},
        "projected",
        "",
    ),
    "feature map": ({"feature_map": MAP}, {"axes": ("batch", 3, SIDE, SIDE), "name": "input"}, "map", "/mean"),
    "feature map of open size": (
        {"feature_map": ["batch", 6, "h", "w"]},
        {"axes": ("batch", 3, "height", "width"), "name": "input"},
        "map",
        "/mean",
    ),
    "weights outside": (ALL, {"outside": True}, "cls", "/pooler_output"),
    "half": (ALL, {"half": "all"}, "cls", "/pooler_output"),
    "half weights": (ALL, {"half": "weights"}, "cls", "/pooler_output"),
    "channels last, named": (
        {"output": VECTOR},
        {"axes": ("batch", "height", "width", "channels"), "name": "image", "channels_last": True},
        "projected",
        "",
    ),
    "channels last, open size": (
        {"output": VECTOR},
        {"axes": ("batch", "height", "width", 3), "name": "image", "channels_last": True},
        "projected",
        "",
    ),
    "channels last, open colours": (
        {"output": VECTOR},
        {"axes": (None, SIDE, SIDE, None), "name": "image", "channels_last": True},
        "projected",
        "",
    ),
    "nameless axes": ({"output": VECTOR}, {"axes": (None, None, None, None), "name": "x"}, "projected", ""),
    "colours of open number": ({"output": VECTOR}, {"axes": ("n", "c", SIDE, SIDE), "name": "x"}, "projected", ""),
    "a batch of four": (ALL, {"axes": (4, 3, SIDE, SIDE)}, "cls", "/pooler_output"),
    "an unknown name alone": ({"features:0": HIDDEN}, {"name": "x:0"}, "projected", ""),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_exporters_write(tmp_path, name):
    outputs, options, expected, chosen = SIGNATURES[name]
    if name == "an unknown name alone":
        outputs = {"features:0": VECTOR}
    path = write_encoder(tmp_path / "down" / "onnx" / "model.onnx", outputs, **options)
    (tmp_path / "down" / "config.json").write_text("{}")
    (tmp_path / "down" / "preprocessor_config.json").write_text(json.dumps(CONFIG))
    truth = COMPUTED[expected](NORMALISED) if expected else tokens(NORMALISED, class_token=False)[:, 0]
    tolerance = 2e-2 if "half" in options else 2e-4
    for spec in (path, tmp_path / "down"):
        teacher = open_teacher(spec)
        answers = teacher.embed(IMAGES)
        assert answers.dtype == np.float32
        np.testing.assert_allclose(answers, truth, atol=tolerance * np.abs(truth).max())
        assert teacher.view.endswith("std0.2,0.3,0.25" + chosen)
        assert teacher.name.startswith("model.onnx@")
    # Without the configuration: a named scale, and the side in words where the file leaves it open.
    (tmp_path / "down" / "preprocessor_config.json").unlink()
    truth = COMPUTED[expected](UNIT) if expected else tokens(UNIT, class_token=False)[:, 0]
    teacher = open_teacher(path, scaling="unit", image_size=SIDE)
    np.testing.assert_allclose(teacher.embed(IMAGES), truth, atol=tolerance * np.abs(truth).max())
    assert teacher.view == f"pillow-bilinear-{SIDE}/unit{chosen}"
    if SIDE not in options.get("axes", SYMBOLIC):
        with pytest.raises(KdistillError, match=r"its size is open .* --teacher_image_size"):
            open_teacher(path, scaling="unit")


@pytest.mark.parametrize(
    ("output", "pooling", "expected", "chosen"),
    [
        (None, "auto", "cls", "/pooler_output"),
        ("pooler_output", "auto", "cls", "/pooler_output"),
        ("last_hidden_state", "auto", "cls", "/last_hidden_state/cls"),
        ("last_hidden_state", "cls", "cls", "/last_hidden_state/cls"),
        ("last_hidden_state", "mean", "mean", "/last_hidden_state/mean"),
        ("feature_map", "mean", "map", "/feature_map/mean"),
        ("other", "auto", "projected", "/other"),
    ],
)
def test_output_and_pooling_by_name(tmp_path, output, pooling, expected, chosen):
    path = write_encoder(tmp_path / "model.onnx", {**ALL, "feature_map": ["b", 6, "h", "w"], "other": VECTOR})
    teacher = open_teacher(path, scaling="unit", image_size=SIDE, output=output, pooling=pooling)
    np.testing.assert_allclose(teacher.embed(IMAGES), COMPUTED[expected](UNIT), atol=1e-4)
    assert teacher.view == f"pillow-bilinear-{SIDE}/unit{chosen}"


FIXED = {"axes": ("batch", 3, SIDE, SIDE)}
REFUSED = {
    "no such output": (
        ALL,
        FIXED,
        {"output": "embeds"},
        ArgumentError,
        r"no output 'embeds' \(--teacher_output\); its",
    ),
    "outputs without a known name": (
        {"a": VECTOR, "b": VECTOR},
        FIXED,
        {},
        KdistillError,
        r"2 outputs \(a, b\) and none is called .* name one with --teacher_output",
    ),
    "nothing to pool": (
        {"output": VECTOR},
        FIXED,
        {"pooling": "mean"},
        ArgumentError,
        "'output' is one vector an image, so there is nothing to pool; leave out --teacher_pooling=mean",
    ),
    "no class token": (
        {"feature_map": MAP},
        FIXED,
        {"pooling": "cls"},
        ArgumentError,
        "is a map .* --teacher_pooling=mean suits",
    ),
    "unknown pooling": (ALL, FIXED, {"pooling": "max"}, ArgumentError, "pooling 'max'; known: auto, cls, mean"),
    "no scale": (ALL, FIXED, {"scaling": "auto"}, ArgumentError, "--teacher_scaling=none .* clip, or the path of a"),
    "unknown scale": (
        ALL,
        FIXED,
        {"scaling": "half"},
        ArgumentError,
        "unknown teacher scaling 'half'; known: auto, none",
    ),
    "another side": (
        ALL,
        FIXED,
        {"image_size": 12},
        ArgumentError,
        "images of side 8, so --teacher_image_size=12 does",
    ),
    "no side": (ALL, {}, {"image_size": None}, KdistillError, "its size is open .* --teacher_image_size"),
    "a side of nothing": (ALL, {}, {"image_size": 0}, ArgumentError, "image size must be at least 1, not 0"),
    "a side that does not fit": (
        {"output": VECTOR},
        {"axes": ("batch", 3, 8, "width")},
        {"image_size": 12},
        KdistillError,
        "--teacher_image_size=12 does not fit",
    ),
    "too small a side": (
        ALL,
        {},
        {"image_size": 2},
        KdistillError,
        "blank image of side 2; --teacher_image_size names",
    ),
    "logits of all texts": (
        CLIP,
        {"text": True, "axes": ("image_batch_size", 3, SIDE, SIDE)},
        {"output": "text_embeds", "pooling": "cls"},
        ArgumentError,
        "'text_embeds' is one vector an image",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_told_with_what_would_help(tmp_path, capfd, name):
    outputs, options, arguments, kind, words = REFUSED[name]
    path = write_encoder(tmp_path / "deep" / "model.onnx", outputs, **options)
    with pytest.raises(kind, match=words) as caught:
        open_teacher(path, **{"scaling": "unit", **arguments})
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_two_images_and_texts_as_words_are_refused(tmp_path):
    from onnx import TensorProto, helper, save

    def write(others):
        image = helper.make_tensor_value_info("left", TensorProto.FLOAT, ["b", 3, SIDE, SIDE])
        graph = helper.make_graph(
            [helper.make_node("ReduceMean", ["left"], ["embedding"], axes=[2, 3], keepdims=0)],
            "g",
            [image, *others],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", 3])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        save(model, tmp_path / "model.onnx")

    write([helper.make_tensor_value_info("right", TensorProto.FLOAT, ["b", 3, SIDE, SIDE])])
    with pytest.raises(KdistillError, match=r"2 of its 2 inputs look so \(left \? x 3 x 8 x 8, right"):
        open_teacher(tmp_path / "model.onnx", scaling="unit")
    write([helper.make_tensor_value_info("words", TensorProto.STRING, ["b"])])
    with pytest.raises(KdistillError, match=r"takes tensor\(string\) in its input 'words' besides the image"):
        open_teacher(tmp_path / "model.onnx", scaling="unit")
    write([helper.make_tensor_value_info("training", TensorProto.BOOL, [])])
    np.testing.assert_allclose(
        open_teacher(tmp_path / "model.onnx", scaling="unit").embed(IMAGES), UNIT.mean((1, 2)), rtol=1e-5
    )


def test_which_model_of_a_folder(tmp_path):
    for name in ("model_fp16.onnx", "text_model.onnx", "vision_model.onnx"):
        write_encoder(tmp_path / "onnx" / name, {"output": VECTOR}, **FIXED)
    assert open_teacher(tmp_path, scaling="unit").name.startswith("vision_model.onnx@")
    (tmp_path / "onnx" / "vision_model.onnx").unlink()
    with pytest.raises(KdistillError, match=r"2 models \(onnx/model_fp16.onnx, onnx/text_model.onnx\); name the path"):
        open_teacher(tmp_path, scaling="unit")
    (tmp_path / "onnx" / "text_model.onnx").unlink()
    assert open_teacher(tmp_path, scaling="unit").name.startswith("model_fp16.onnx@")
    (tmp_path / "onnx" / "model_fp16.onnx").unlink()
    with pytest.raises(KdistillError, match=r"a folder without saved_model.pb, .* and without onnx/model.onnx"):
        open_teacher(tmp_path, scaling="unit")


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"image_size": SIDE}, True),
        ({"model_type": "clip", "vision_config": {"image_size": SIDE}}, True),
        ({"image_size": [SIDE, SIDE]}, False),
        ({"image_size": 0, "vision_config": []}, False),
        ([SIDE], False),
    ],
)
def test_an_open_side_stands_in_the_models_own_configuration(tmp_path, config, found):
    path = write_encoder(tmp_path / "onnx" / "model.onnx", ALL)
    (tmp_path / "config.json").write_text(json.dumps(config))
    if found:
        assert open_teacher(path, scaling="clip").view.startswith(f"pillow-bicubic-shortest{SIDE}-crop{SIDE}/")
        assert open_teacher(path, scaling="unit", image_size=12).view.startswith("pillow-bilinear-12/unit")
    else:
        with pytest.raises(KdistillError, match=r"its size is open .* --teacher_image_size"):
            open_teacher(path, scaling="clip")


def test_recipes_by_path_and_configurations_that_contradict(tmp_path):
    path = write_encoder(tmp_path / "in" / "model.onnx", ALL)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(CONFIG))
    teacher = open_teacher(path, scaling=str(recipe))
    np.testing.assert_allclose(teacher.embed(IMAGES), COMPUTED["cls"](NORMALISED), atol=1e-4)
    assert open_teacher(path, scaling=recipe).view == teacher.view
    with pytest.raises(
        ArgumentError, match=r"recipe.json makes images of side 8, so --teacher_image_size=12 does not fit"
    ):
        open_teacher(path, scaling=str(recipe), image_size=12)
    with pytest.raises(KdistillError, match=r"nothing.json"):
        open_teacher(path, scaling=str(tmp_path / "nothing.json"))
    fixed = write_encoder(tmp_path / "fixed" / "model.onnx", ALL, axes=("batch", 3, 12, 12))
    with pytest.raises(
        KdistillError, match=r"takes images of side 12, and .*recipe.json makes images of side 8; .*scaling"
    ):
        open_teacher(fixed, scaling=str(recipe))
    (tmp_path / "fixed" / "preprocessor_config.json").write_text("{")
    with pytest.raises(KdistillError, match=r"preprocessor_config.json cannot be read as JSON"):
        open_teacher(fixed)
    assert open_teacher(fixed, scaling="unit").view == "pillow-bilinear-12/unit/pooler_output"  # it is not needed
